package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// Exit codes. Those that a guest or a command in it may give lie below 100, as
// far as mvm can help it.
const (
	exitError      = 1
	exitUsage      = 2
	exitDefinition = 100
	exitHost       = 101
	exitRunning    = 102
	exitNotRunning = 103
	exitWeaker     = 104
	exitGuest      = 120
	exitPanic      = 121
	exitQEMU       = 122
	exitNotReady   = 123
	exitForced     = 124
	exitHelper     = 125
	exitExec       = 125
)

const exitCodesHelp = `The exit status of mvm says what happened:

    0  it worked; for run: the guest ended by itself, or was stopped and did
    1  something else went wrong
    2  the command line was wrong
  100  the definition is wrong
  101  this host lacks something: a program, a file, a right, space
  102  the machine runs already
  103  the machine does not run
  104  the machine is shut in less than its definition says (status --security)

run with a command ends with the command's status; with 128 and the signal if it
was stopped before the command had ended. Otherwise run ends with the guest's own
exit status, if it reported one (/run/mvm/poweroff STATUS), and else with

  120  the guest could not be booted, ended before it was ready, or rebooted too often
  121  the guest's kernel panicked
  122  QEMU could not be started, or died, or the host killed it for its memory
  123  the guest was not ready in time
  124  the guest was asked to power off, did not, and was forced
  125  a helper (virtiofsd, passt) ended while the guest ran

exec and shell end with the command's own exit status, 126 or 127 if it could not
be executed or was not found, and 125 if mvm could not ask. cp ends with 1 if
something could not be copied, 125 if mvm could not ask, and 130 if it was
interrupted.`

func newExitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit status of mvm means",
		Long:  exitCodesHelp,
	}
}

// A usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// An endedError carries how a machine or a command in it ended, when that is
// not a plain success.
type endedError struct {
	exit   control.Exit
	code   int
	report bool // false when the exit status alone says it
}

func (e *endedError) Error() string { return e.exit.Detail }

// ended turns the end of a machine into run's error, nil for a success.
func ended(exit control.Exit) error {
	e := &endedError{exit: exit, report: exit.Detail != ""}
	switch exit.Reason {
	case control.GuestFailed:
		e.code = exitGuest
	case control.GuestReboot:
		if exit.Detail != "" { // once too often
			e.code = exitGuest
		}
	case control.GuestPanic:
		e.code = exitPanic
	case control.QEMUError, control.HostMemory:
		e.code = exitQEMU
	case control.ReadyTimeout:
		e.code = exitNotReady
	case control.Killed:
		e.code = exitForced
	case control.HelperDied:
		e.code = exitHelper
	default:
		if exit.Status != nil {
			e.code = *exit.Status
		}
	}
	if e.code == 0 {
		return nil
	}
	return e
}

// exitCode is what the process ends with for err.
func exitCode(err error) int {
	if end, ok := errors.AsType[*endedError](err); ok {
		return end.code
	}
	switch {
	case has[usageError](err):
		return exitUsage
	case has[*vm.DefinitionError](err), has[*vm.FindError](err):
		return exitDefinition
	case has[*state.RunningError](err):
		return exitRunning
	case errors.Is(err, control.ErrNotRunning):
		return exitNotRunning
	case lacksSomething(err):
		return exitHost
	case has[*qemu.ExitError](err):
		return exitQEMU
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOSPC):
		return exitHost
	}
	return exitError
}

// has reports whether there is a T in err's tree.
func has[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// lacksSomething reports whether err says that the host does.
func lacksSomething(err error) bool {
	found := false
	walk(err, func(err error) {
		if _, ok := hostHint(err); ok {
			found = true
		}
	})
	return found
}
