package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/console"
	"github.com/mvmrun/mvm/vm/control"
)

// backgroundFlag is for "mvm start": the process lives without a terminal, and
// its standard error is a pipe that it leaves once its control socket answers.
const backgroundFlag = "--background"

func newRun(e env) *cobra.Command {
	var background bool
	cmd := &cobra.Command{
		Use:     "run NAME [-- COMMAND [ARG...]]",
		GroupID: "life",
		Short:   "Boot a machine and stay with it until it ends",
		Long: `Run makes what the machine needs (its store disk, its volumes), boots it, and
stays with it until nothing is left of it.

On a terminal the guest's console is on it: everything typed goes to the guest,
and Ctrl-] stops the machine. Elsewhere the console is only written out, and
SIGINT or SIGTERM stops the machine: the guest is asked to power off, and forced
when it does not within stopTimeout. A second Ctrl-] or signal forces it at once.

With a COMMAND the console is kept in the log only. The command is run in the
guest when it is ready, with mvm's own standard input, output and error; then the
guest is powered off, and mvm ends with the command's status.

"mvm help exit-codes" says what the exit status means.`,
		Example: `  mvm run myvm
  mvm run ./myvm.toml
  mvm run myvm -- sh -c 'cat /proc/mounts'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				if n == len(args) {
					return errNoCommand
				}
				args = args[:n]
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd.Context(), args[0], args[1:], background)
		},
	}
	cmd.Flags().BoolVar(&background, strings.TrimPrefix(backgroundFlag, "--"), false, "")
	_ = cmd.Flags().MarkHidden(strings.TrimPrefix(backgroundFlag, "--"))
	return cmd
}

func (e env) run(ctx context.Context, arg string, command []string, background bool) error {
	c, _, err := e.loadBootable(arg)
	if err != nil {
		return err
	}
	dirs, err := e.dirs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asks := newAsks(cancel)
	defer asks.close()
	screen := newScreen(e)
	defer screen.close()

	progress := newProgress(screen, c.MachineName())
	o := vm.Options{
		Dirs:     dirs,
		Desktop:  os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "",
		Hurry:    asks.hurry,
		Progress: progress.disk,
		Event:    func(ev control.Event) { progress.event(ev) },
	}
	switch {
	case background:
		o.Serving = leaveStderr
	case len(command) == 0:
		o.Console = func(hub *console.Hub) { screen.console(hub, asks.leave, asks.closed) }
	default:
		in, stdout, stderr := interruptible(e.stdin), newOutlet(e.stdout), newOutlet(e.stderr)
		defer in.Close()
		o.Command = &vm.GuestCommand{Exec: handoff.Exec{Argv: command}, Stdin: in, Stdout: stdout, Stderr: stderr}
		// Its readers are waited for until somebody wants the end.
		o.Event = func(ev control.Event) {
			progress.event(ev)
			ending := ev.State == control.Stopping || ev.State == control.Exited
			stdout.ending.Store(ending)
			stderr.ending.Store(ending)
		}
	}
	if !background { // the manager of whoever started it has nothing to do with it
		newNotifier(e, c).attach(&o)
	}
	lean(&o)
	exit, err := vm.Run(ctx, c, o)
	screen.close()
	if err != nil {
		return err
	}
	if len(command) > 0 && exit.Status == nil && (exit.Reason == control.Stopped || exit.Reason == control.Killed) {
		// The command was cut short, which must not look like a success.
		return &endedError{exit: *exit, code: asks.status()}
	}
	return ended(*exit)
}

// lean gives back what a boot took as soon as it is over: a supervisor waits for
// weeks, and then holds a third less.
func lean(o *vm.Options) {
	event := o.Event
	o.Event = func(ev control.Event) {
		event(ev)
		if ev.State == control.Ready {
			debug.FreeOSMemory()
		}
	}
}

// leaveStderr ends the pipe that "mvm start" reads. What is said from then on
// is in the machine's events.
func leaveStderr() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		_ = unix.Dup3(int(null.Fd()), int(os.Stderr.Fd()), 0)
		null.Close()
	}
}

// asks turns signals and Ctrl-] into a request to stop, and the second one into
// a request to hurry.
type asks struct {
	signal  atomic.Int32 // the first that came
	cancel  context.CancelCauseFunc
	hurry   chan struct{}
	signals chan os.Signal
	pipes   chan os.Signal
	done    chan struct{}
	mu      sync.Mutex
	count   int
}

func newAsks(cancel context.CancelCauseFunc) *asks {
	a := &asks{
		cancel: cancel, hurry: make(chan struct{}), done: make(chan struct{}),
		signals: make(chan os.Signal, 2), // a first and a second ask
		pipes:   make(chan os.Signal, 1), // never read
	}
	// A write to a pipe without a reader is to be an error: the signal would end
	// mvm, and the guest with it, in the middle of things.
	signal.Notify(a.pipes, syscall.SIGPIPE)
	signal.Notify(a.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer close(a.done)
		for sig := range a.signals {
			if n, ok := sig.(syscall.Signal); ok {
				a.signal.CompareAndSwap(0, int32(n))
				a.ask(unix.SignalName(n))
			}
		}
	}()
	return a
}

func (a *asks) ask(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	switch a.count {
	case 1:
		a.cancel(stopAsked(why))
	case 2:
		close(a.hurry)
	}
}

// status is what a shell makes of a command that was cut short: 128 and the
// signal that mvm got, or SIGTERM for a stop by other ways.
func (a *asks) status() int {
	if n := a.signal.Load(); n != 0 {
		return 128 + int(n)
	}
	return 128 + int(syscall.SIGTERM)
}

func (a *asks) leave() { a.ask("Ctrl-]") }

func (a *asks) closed() { a.ask("the reader of its output, which has gone") }

func (a *asks) close() {
	signal.Stop(a.signals)
	signal.Stop(a.pipes)
	close(a.signals)
	<-a.done
}

// stopAsked is the cause of a stop.
type stopAsked string

func (s stopAsked) Error() string { return "asked to stop by " + string(s) }
