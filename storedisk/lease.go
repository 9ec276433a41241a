package storedisk

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/storedisk/erofs"
)

// Leases are locks on a byte of the image that no image has, and that QEMU,
// which locks bytes from 100 on, does not use. They belong to the open file,
// so that they are inherited, and end with its last user. Unlike those of
// flock, they can be asked about without being taken.
const leaseByte = 1 << 62

// share takes part in the lease on f, or returns errLocked if f was seized.
func share(f *os.File) error { return setLease(f, unix.F_RDLCK) }

// seize makes sure that nobody uses f, neither a holder of a lease nor a QEMU,
// and that nobody gets a lease until it is closed. It returns errLocked if
// somebody does. f must be open for writing.
func seize(f *os.File) error {
	if err := setLease(f, unix.F_WRLCK); err != nil {
		return err
	}
	busy, err := erofs.InUse(f)
	if err == nil && busy {
		err = errLocked
	}
	return err
}

// inUse reports whether anybody else has a lease on f, or QEMU has it open.
func inUse(f *os.File) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: leaseByte, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk); err != nil {
		return false, &os.PathError{Op: "query lease", Path: f.Name(), Err: err}
	}
	if lk.Type != unix.F_UNLCK {
		return true, nil
	}
	return erofs.InUse(f)
}

func setLease(f *os.File, kind int16) error {
	lk := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: leaseByte, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	if err != nil {
		return &os.PathError{Op: "lease", Path: f.Name(), Err: err}
	}
	return nil
}
