package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/control"
)

var errNoCommand = errors.New("no command after --")

func newExec(e env) *cobra.Command {
	var tty, noTTY bool
	var dir, user string
	var environ []string
	cmd := &cobra.Command{
		Use:     "exec NAME [--] COMMAND [ARG...]",
		GroupID: "life",
		Short:   "Run a command in a machine",
		Long: `Exec runs a command in a machine that is ready, as root or as another user of the
guest's /etc/passwd, with mvm's own standard input, output and error, and ends with
the command's status. When input and output are a terminal the command gets one too.`,
		Example: `  mvm exec myvm -- ls -l /nix/store
  mvm exec myvm sh
  tar c . | mvm exec myvm -- tar x -C /tmp`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: e.completeRunning,
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := e.place(args[0])
			if err != nil {
				return err
			}
			command := args[1:]
			if command[0] == "--" { // flags end at the name, so nobody took it out
				command = command[1:]
			}
			if len(command) == 0 {
				return usageError{errNoCommand}
			}
			x := handoff.Exec{Argv: command, User: user, Dir: dir, Env: environ}
			_, in := terminal(e.stdin)
			if tty && noTTY {
				return usageError{errors.New("--tty and --no-tty: give one of them")}
			}
			if tty && !in {
				return usageError{errors.New("--tty needs a terminal as standard input")}
			}
			return e.found(place, e.exec(cmd.Context(), control.NewClient(place.Name, place.Socket()), x, tty || e.onTerminal() && !noTTY))
		},
	}
	cmd.Flags().SetInterspersed(false) // the command's flags are its own
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	cmd.Flags().BoolVarP(&noTTY, "no-tty", "T", false, "give it none")
	cmd.Flags().StringVarP(&user, "user", "u", "", "run it as this user, by name or number (default root)")
	cmd.Flags().StringVarP(&dir, "dir", "C", "", "the command's working directory (default /)")
	cmd.Flags().StringArrayVarP(&environ, "env", "e", nil, "add NAME=VALUE to its environment")
	return cmd
}

// onTerminal reports whether a person is at both ends.
func (e env) onTerminal() bool {
	_, in := terminal(e.stdin)
	_, out := terminal(e.stdout)
	return in && out
}

func newShell(e env) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:     "shell NAME [-- ARG...]",
		GroupID: "life",
		Short:   "Open a shell in a machine",
		Long: `Shell runs the login shell of root, or of another user of the guest's /etc/passwd,
in a machine that is ready: on a terminal if this is one, at home, with the
arguments given. It asks for no password and ends with the shell's status. The
terminal follows this one's size.`,
		Example: `  mvm shell myvm
  mvm shell --user alice myvm
  mvm shell myvm -- -c 'echo $PATH'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: e.completeRunning,
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := e.place(args[0])
			if err != nil {
				return err
			}
			args = args[1:]
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			x := handoff.Exec{Argv: args, User: user, Login: true}
			return e.found(place, e.exec(cmd.Context(), control.NewClient(place.Name, place.Socket()), x, e.onTerminal()))
		},
	}
	cmd.Flags().SetInterspersed(false) // the shell's flags are its own
	cmd.Flags().StringVarP(&user, "user", "u", "", "whose shell, by name or number (default root)")
	return cmd
}

func (e env) exec(ctx context.Context, client *control.Client, x handoff.Exec, tty bool) error {
	restore := func() {}
	if tty {
		fd, _ := terminal(e.stdin)
		x.TTY = &handoff.Size{Rows: 24, Cols: 80}
		if cols, rows, err := term.GetSize(fd); err == nil {
			x.TTY = &handoff.Size{Rows: uint16(rows), Cols: uint16(cols)}
		}
		if t := e.getenv("TERM"); t != "" {
			x.Env = append([]string{"TERM=" + t}, x.Env...)
		}
		if saved, err := term.MakeRaw(fd); err == nil {
			restore = func() { _ = term.Restore(fd, saved) }
		}
	}
	defer restore()
	conn, session, err := client.Exec(ctx, x)
	if err != nil {
		return execError(err)
	}
	defer conn.Close()
	done := e.passSignals(ctx, session, tty)
	defer done()
	in := interruptible(e.stdin)
	defer in.Close()
	exited, err := session.Run(ctx, in, e.stdout, e.stderr)
	restore()
	switch {
	case err != nil:
		return execError(err)
	case exited.Err != "":
		return &endedError{exit: control.Exit{Detail: exited.Err}, code: exited.Code, report: true}
	case exited.Code != 0:
		return &endedError{code: exited.Code}
	}
	return nil
}

// execError is for a command that mvm could not ask for. What has an exit code
// of its own keeps it.
func execError(err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return err
	}
	if has[*agent.OutputError](err) { // nor is it the guest's fault
		return &endedError{exit: control.Exit{Detail: err.Error()}, code: exitError, report: true}
	}
	return &endedError{exit: control.Exit{Detail: "exec: " + err.Error()}, code: exitExec, report: true}
}

// passSignals gives the command what this process is told, until the returned
// function is called.
func (e env) passSignals(ctx context.Context, s *agent.Session, tty bool) func() {
	signals := make(chan os.Signal, 8) // more than a person can send between two turns
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, unix.SIGWINCH)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range signals {
			n, ok := sig.(syscall.Signal)
			switch {
			case !ok:
			case n != unix.SIGWINCH:
				_ = s.Signal(ctx, int(n))
			case tty:
				fd, _ := terminal(e.stdin)
				if cols, rows, err := term.GetSize(fd); err == nil {
					_ = s.Resize(ctx, handoff.Size{Rows: uint16(rows), Cols: uint16(cols)})
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
