package agent

import (
	"errors"
	"fmt"
	"io"

	"github.com/mvmrun/mvm/mounts/cargo"
)

// Copy is the guest's end of a copy: see handoff.CopyProgram for its arguments.
// What is left out of a copy is no error here; the host is told by the stream,
// or has told.
func Copy(args []string, in io.Reader, out io.Writer) error {
	var err error
	switch {
	case len(args) == 2 && args[0] == "send":
		err = cargo.Send(out, args[1], nil)
	case len(args) == 3 && args[0] == "receive":
		err = cargo.Receive(in, args[1], args[2], nil)
	default:
		return fmt.Errorf("copy: arguments %q", args)
	}
	if _, ok := errors.AsType[*cargo.SkippedError](err); ok {
		return nil
	}
	return err
}
