package storedisk

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// A HostError is something that this host lacks: a tool, space, a permission.
type HostError struct {
	Op   string // what was tried: "find mkfs.erofs"
	Err  error  // why it did not work
	Hint string // one thing to do, as an imperative sentence; never empty
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// all returns the collected mistakes under one heading, or nil if there are
// none. A single mistake stands on the heading's own line.
func all(heading string, errs *multierror.Error) error {
	if errs.ErrorOrNil() == nil {
		return nil
	}
	errs.ErrorFormat = list
	if len(errs.Errors) == 1 {
		return fmt.Errorf("%s: %w", heading, errs.Errors[0])
	}
	return fmt.Errorf("%s:%w", heading, errs)
}

// list prints errors one to a line, without the count and the trailing blank
// lines that go-multierror adds by default.
func list(errs []error) string {
	var b strings.Builder
	for _, err := range errs {
		fmt.Fprintf(&b, "\n  - %v", err)
	}
	return b.String()
}
