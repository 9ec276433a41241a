package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/hostdev"
	"github.com/mvmrun/mvm/vm/hostnet"
	"github.com/mvmrun/mvm/vm/kmod"
	"github.com/mvmrun/mvm/vm/machined"
	"github.com/mvmrun/mvm/vm/sidecar"
	"github.com/mvmrun/mvm/vm/state"
	"github.com/mvmrun/mvm/vm/volume"
	"github.com/mvmrun/mvm/vm/vsock"
)

// The rules of what a person sees:
//
//   - Results go to standard output, everything else to standard error.
//   - Messages are lower case, without a full stop, and begin with "mvm: ".
//   - An error is one "mvm: error: " and as many "mvm: hint: " as it has advice.
//   - Nothing is said when nothing was asked and nothing is wrong.
//
// report, warn and say are the only ways to speak.

// report prints what went wrong and what to do about it.
func report(w io.Writer, err error) {
	text := strings.TrimRight(err.Error(), "\n")
	fmt.Fprintf(w, "mvm: error: %s\n", text)
	for _, h := range hints(err) {
		fmt.Fprintf(w, "mvm: hint: %s\n", h)
	}
}

// warn prints something that did not stop mvm.
func warn(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "mvm: warning: "+format+"\n", args...)
}

// say prints what is going on.
func say(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "mvm: "+format+"\n", args...)
}

// hints collects the advice of every error in err's tree, each once.
func hints(err error) []string {
	var found []string
	walk(err, func(err error) {
		if h := hint(err); h != "" && !slices.Contains(found, h) {
			found = append(found, h)
		}
	})
	return found
}

// walk calls f for every error in err's tree.
func walk(err error, f func(error)) {
	if err == nil {
		return
	}
	f(err)
	switch e := err.(type) { //nolint:errorlint // this is the walk
	case *multierror.Error:
		for _, err := range e.Errors {
			walk(err, f)
		}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			walk(err, f)
		}
	default:
		walk(errors.Unwrap(err), f)
	}
}

// hostHint is the advice of this very error if it says that the host lacks
// something. Each package has a type of its own for that, since none of them
// knows the others.
func hostHint(err error) (hint string, ok bool) {
	switch e := err.(type) { //nolint:errorlint // the caller walks the tree
	case *vm.HostError:
		return e.Hint, true
	case *qemu.HostError:
		return e.Hint, true
	case *storedisk.HostError:
		return e.Hint, true
	case *volume.HostError:
		return e.Hint, true
	case *kmod.HostError:
		return e.Hint, true
	case *hostdev.HostError:
		return e.Hint, true
	case *hostnet.HostError:
		return e.Hint, true
	case *sidecar.HostError:
		return e.Hint, true
	case *vsock.HostError:
		return e.Hint, true
	case *machined.HostError:
		return e.Hint, true
	case *state.OwnerError:
		return fmt.Sprintf("become that user, or have the directory given to you: chown -R %d %s", e.User, e.Dir), true
	}
	return "", false
}

// hint is the advice of this very error.
func hint(err error) string {
	if h, ok := hostHint(err); ok {
		return h
	}
	switch e := err.(type) { //nolint:errorlint // the caller walks the tree
	case *qemu.ExitError:
		return "mvm argv NAME --why shows which key of the definition caused each option"
	case *vm.FindError:
		return e.Hint
	case *endedError:
		return e.exit.Hint
	case *vmHint:
		return e.hint
	case *state.RunningError:
		return "mvm ps shows what runs; mvm stop ends it"
	}
	if err == control.ErrNotRunning { //nolint:errorlint // the caller walks the tree
		return "mvm ps shows what runs"
	}
	return ""
}
