package state

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Lock is held by the one process that may run a machine. The kernel drops
// it with the process.
type Lock struct{ f *os.File }

// A RunningError says that a machine runs already.
type RunningError struct {
	Name string
	PID  int // of the supervisor, 0 if it has not said so yet
}

func (e *RunningError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s: is being started or stopped by another mvm", e.Name)
	}
	return fmt.Sprintf("%s: runs already, process %d", e.Name, e.PID)
}

// Lock takes the machine's lock without waiting. It returns a [*RunningError]
// when somebody has it. The directories must exist.
//
// The file stays when the lock is released: to remove it would let two
// processes hold locks on two files of one name.
func (m Machine) Lock() (*Lock, error) {
	f, err := os.OpenFile(m.LockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &Lock{f}, nil
	}
	f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", m.LockFile(), err)
	}
	running := &RunningError{Name: m.Name}
	if id, err := m.ReadIdentity(); err == nil && id.Alive() {
		running.PID = id.PID
	}
	return nil, running
}

// Release gives the lock up.
func (l *Lock) Release() error { return l.f.Close() }

// Running reports whether somebody holds the machine's lock.
func (m Machine) Running() (bool, error) {
	f, err := os.Open(m.LockFile())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	// A shared lock, so that two who ask do not take each other for the owner.
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// Wait returns when nobody holds the machine's lock: its supervisor has then
// taken everything back. It waits in the kernel, and nothing interrupts it.
func (m Machine) Wait() error {
	f, err := os.Open(m.LockFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_SH)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
