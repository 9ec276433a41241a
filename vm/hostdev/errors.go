package hostdev

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// A HostError is something that this host lacks or does not allow. It says what
// was attempted, why that failed, and what the reader can do about it.
type HostError struct {
	Op   string // what was tried: "find PCI device 0000:01:00.0"
	Err  error  // why it failed; the kernel's own error is within
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// changeError says why the kernel did not change a device.
func changeError(op string, err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = fmt.Errorf("write to %s: %w", pe.Path, pe.Err)
	}
	e := &HostError{Op: op, Err: err, Hint: "look in the kernel's log for the reason"}
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "read-only") {
		e.Hint = "run as root, with /sys writable, or bind the device to vfio-pci before the machine starts"
	}
	return e
}

// all is one error of several, each on a line of its own.
func all(wrong *multierror.Error) error {
	if wrong != nil {
		wrong.ErrorFormat = func(errs []error) string {
			lines := make([]string, len(errs))
			for i, err := range errs {
				lines[i] = err.Error()
			}
			return strings.Join(lines, "\n")
		}
	}
	return wrong.ErrorOrNil()
}
