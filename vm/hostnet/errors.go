package hostnet

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// A HostError is something that this host lacks or does not allow. It says what
// was attempted, why that failed, and what the reader can do about it.
type HostError struct {
	Op   string // what was tried: "make tap vm0"
	Err  error  // why it failed; the kernel's own error is within
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// ErrTaken is matched by the error of Up when a device of that name exists and
// is not a leftover.
var ErrTaken = errors.New("the name is taken")

// openError says why one of the kernel's device nodes could not be opened.
func openError(path, module, without string, err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err // Op names the file already
	}
	e := &HostError{Op: "open " + path, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Hint = "load the " + module + " module, or pass the device into this container; or " + without
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "run as root, or be in the group that may open it; or " + without
	default:
		e.Hint = without
	}
	return e
}
