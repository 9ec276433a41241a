package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Lock is held by the one process that may run a machine. The kernel drops
// it with the process. The file says which process that is.
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
// The file stays when the lock is released. Only who holds the lock may remove
// it, with [Machine.Remove].
func (m Machine) Lock() (*Lock, error) {
	f, err := m.openLock()
	if err != nil {
		return nil, err
	}
	if f != nil {
		l := &Lock{f}
		l.sign()
		return l, nil
	}
	running := &RunningError{Name: m.Name}
	if id, err := m.Supervisor(); err == nil && id.Alive() {
		running.PID = id.PID
	}
	return nil, running
}

// openLock opens the lock's file and locks it. It returns nil if somebody else
// has.
func (m Machine) openLock() (*os.File, error) {
	for {
		f, err := os.OpenFile(m.LockFile(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, f.Close()
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", m.LockFile(), err)
		}
		if m.isLock(f) {
			return f, nil
		}
		f.Close() // it was removed meanwhile
	}
}

// isLock reports whether f is the file that the lock's name stands for.
func (m Machine) isLock(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(m.LockFile())
	return err == nil && os.SameFile(mine, named)
}

// sign writes into the file who holds the lock. It is for people and for the
// day when the run-time directory is gone: without it the lock holds as well.
func (l *Lock) sign() {
	id, err := Self()
	if err != nil {
		return
	}
	if b, err := json.Marshal(id); err == nil && l.f.Truncate(0) == nil {
		_, _ = l.f.WriteAt(append(b, '\n'), 0)
	}
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

// Supervisor is the process that holds the machine's lock, as it wrote down. The
// error is fs.ErrNotExist when none has.
func (m Machine) Supervisor() (Identity, error) {
	id, err := m.ReadIdentity()
	if err == nil {
		return id, nil
	}
	f, lerr := os.Open(m.LockFile())
	if lerr != nil {
		return Identity{}, err
	}
	defer f.Close()
	b, lerr := io.ReadAll(io.LimitReader(f, 1<<10))
	if lerr != nil || len(b) == 0 {
		return Identity{}, err
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", m.LockFile(), err)
	}
	return id, nil
}
