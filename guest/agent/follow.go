package agent

import (
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// EmergencySignal tells the agent that the guest's own initrd gave up.
const EmergencySignal = unix.SIGUSR1

// errEmergency is that the initrd gave up.
var errEmergency = errors.New("systemd gave up and went into emergency mode")

// follow waits until process 1 has left the initrd, in which this process was
// started, and has executed the guest's init. It then takes the guest's root
// for its own.
func follow() error {
	emergency := make(chan os.Signal, 1) // one is enough
	signal.Notify(emergency, EmergencySignal)
	defer signal.Stop(emergency)

	var here unix.Stat_t
	if err := unix.Stat("/", &here); err != nil {
		return fmt.Errorf("look at the initrd's root: %w", err)
	}
	// By the file: the path leads nowhere when the initrd has been emptied.
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc: %w", err)
	}
	defer unix.Close(proc)
	execs, err := watchInit()
	if err != nil {
		return fmt.Errorf("watch process 1: %w", err)
	}
	defer execs.Close()
	executed := make(chan error)
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with follow, which closes what it reads
		for {
			err := execs.wait()
			select {
			case executed <- err:
			case <-done:
				return
			}
		}
	}()
	for {
		// Before the first wait too: it may have happened already.
		switch moved, err := enterNewRoot(proc, here); {
		case err != nil:
			return err
		case moved:
			return nil
		}
		select {
		case err := <-executed:
			if err != nil {
				return fmt.Errorf("watch process 1: %w", err)
			}
		case <-emergency:
			return errEmergency
		}
	}
}

// enterNewRoot makes process 1's root this process's root, if it is another
// than the one given.
func enterNewRoot(proc int, here unix.Stat_t) (bool, error) {
	root, err := unix.Openat(proc, "1/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("open process 1's root: %w", err)
	}
	defer unix.Close(root)
	var there unix.Stat_t
	if err := unix.Fstat(root, &there); err != nil {
		return false, fmt.Errorf("look at process 1's root: %w", err)
	}
	if there.Dev == here.Dev && there.Ino == here.Ino {
		return false, nil
	}
	if err := unix.Fchdir(root); err != nil {
		return false, fmt.Errorf("enter process 1's root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return false, fmt.Errorf("enter process 1's root: %w", err)
	}
	return true, nil
}
