package vm

import (
	"fmt"
	"slices"

	"github.com/hashicorp/go-multierror"
)

// An undoList is what must be taken back, in reverse, on every path.
type undoList []undoStep

type undoStep struct {
	what string
	f    func() error
}

// add remembers how to take back what was just done.
func (u *undoList) add(what string, f func() error) { *u = append(*u, undoStep{what, f}) }

// run takes everything back and reports what would not go.
func (u *undoList) run() error {
	var wrong *multierror.Error
	for _, step := range slices.Backward(*u) {
		if err := step.f(); err != nil {
			wrong = multierror.Append(wrong, fmt.Errorf("%s: %w", step.what, err))
		}
	}
	*u = nil
	if wrong != nil {
		wrong.ErrorFormat = listErrors
	}
	return wrong.ErrorOrNil()
}
