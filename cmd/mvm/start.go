package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/control"
)

func newStart(e env) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:     "start NAME",
		GroupID: "life",
		Short:   "Boot a machine in the background",
		Long: `Start boots a machine in the background and returns: at once, or with --wait when
the guest is ready or has failed, and then with the reason. The machine goes on
after this terminal is closed. "mvm console" attaches to it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.start(cmd.Context(), args[0], wait)
		},
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "return when the guest is ready")
	return cmd
}

// start runs "mvm run" in a session of its own and follows it until it has a
// control socket, which it says by closing the pipe that it is given.
func (e env) start(ctx context.Context, arg string, wait bool) error {
	// What is wrong with the definition is said here, not in the background.
	c, file, err := e.loadBootable(arg)
	if err != nil {
		return err
	}
	dirs, err := e.dirs()
	if err != nil {
		return err
	}
	place := dirs.Machine(c.MachineName())
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	run := exec.Command(self, "run", backgroundFlag, c.File())
	run.Stderr = w
	run.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = run.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start %s in the background: %w", file, err)
	}
	// Until it answers, what it says is passed on; it closes the pipe then.
	_, _ = io.Copy(e.stderr, r)
	client := control.NewClient(place.Name, place.Socket())
	if st, err := client.Status(ctx); err != nil || st.PID != run.Process.Pid {
		return reap(run, err)
	}
	if !wait {
		return run.Process.Release()
	}
	return e.untilReady(ctx, client, place.Name)
}

// reap is for a background process that ended before it could be spoken to. It
// has said why.
func reap(run *exec.Cmd, err error) error {
	werr := run.Wait()
	if ee := (*exec.ExitError)(nil); errors.As(werr, &ee) {
		return &endedError{code: ee.ExitCode()}
	}
	return errors.Join(err, werr)
}

var errReady = errors.New("ready")

// untilReady follows a machine until it is ready or has ended.
func (e env) untilReady(ctx context.Context, client *control.Client, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	exit, err := client.Follow(ctx, func(ev control.Event) {
		if ev.State != control.Building {
			say(e.stderr, "%s: %s", name, ev.Message)
		}
		if ev.State == control.Ready {
			cancel(errReady)
		}
	})
	if errors.Is(context.Cause(ctx), errReady) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := ended(*exit); err != nil {
		return err
	}
	return fmt.Errorf("%s: ended before it was ready: %s", name, exit.Reason)
}
