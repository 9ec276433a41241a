package erofs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// QEMU locks single bytes of an image it has open, shared, even if it only
// reads: from 100 on for what it does with the image, from 200 on for what it
// does not let others do (block/file-posix.c, RAW_LOCK_PERM_BASE). A lock for
// writing over all of them therefore shows whether any QEMU is there.
const (
	qemuLockStart = 100
	qemuLockLen   = 201
)

// InUse reports whether a process such as QEMU has the image in f open. Where
// locks do not work it returns an error, and nobody can tell.
func InUse(f *os.File) (bool, error) {
	lock := qemuLock(unix.F_WRLCK)
	if err := setLock(f, unix.F_OFD_GETLK, &lock); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}

// lockOut keeps QEMU from opening the image in f until unlock is called, or
// returns ErrInUse.
func lockOut(f *os.File) (unlock func(), err error) {
	lock := qemuLock(unix.F_WRLCK)
	err = setLock(f, unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%s: %w", f.Name(), ErrInUse)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		lock := qemuLock(unix.F_UNLCK)
		_ = setLock(f, unix.F_OFD_SETLK, &lock) // or else it goes when f is closed
	}, nil
}

func qemuLock(typ int16) unix.Flock_t {
	return unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: qemuLockStart, Len: qemuLockLen}
}

func setLock(f *os.File, cmd int, lock *unix.Flock_t) error {
	err := retry(func() error { return unix.FcntlFlock(f.Fd(), cmd, lock) })
	if err != nil {
		return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}
