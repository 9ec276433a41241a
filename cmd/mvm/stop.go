package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

func newStop(e env) *cobra.Command {
	var timeout time.Duration
	cmd := e.machineCommand("stop NAME", "Stop a machine and wait until it is gone",
		`Stop asks the guest to power off, and forces it when it does not within the
definition's stopTimeout, or within --timeout if that is sooner. It shows what it
tries and returns when nothing is left of the machine. Its exit status is 0 if the
machine is gone, whichever way.`,
		func(cmd *cobra.Command, place state.Machine, c *control.Client) error {
			return e.stop(cmd.Context(), place, c, timeout)
		})
	timeoutFlag(cmd, &timeout)
	return cmd
}

func timeoutFlag(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVarP(timeout, "timeout", "t", 0, "force the guest after this time, as 10s; 0 leaves it to stopTimeout")
}

// stop stops a machine and returns when nothing is left of it.
func (e env) stop(ctx context.Context, place state.Machine, c *control.Client, timeout time.Duration) error {
	if timeout < 0 {
		return usageError{fmt.Errorf("--timeout %v: want a time from now on", timeout)}
	}
	if timeout > 0 {
		limit := time.AfterFunc(timeout, func() {
			say(e.stderr, "%s: it has had its %v; forcing it", place.Name, timeout)
			_, _ = c.Kill(ctx, func(control.Event) {}) // followed below
		})
		defer limit.Stop()
	}
	exit, err := c.Stop(ctx, e.show(place.Name))
	if errors.Is(err, control.ErrNotRunning) {
		return e.stopUnheard(place, err)
	}
	if err != nil {
		return err
	}
	if exit.Reason == control.Killed {
		warn(e.stderr, "%s: %s", place.Name, exit.Detail)
	}
	// The machine has ended; its supervisor still tidies up.
	return place.Wait()
}

// stopUnheard stops a machine that has lost its control socket, as when somebody
// emptied /run: its supervisor is asked by a signal. The error is what to say
// when it does not run at all.
func (e env) stopUnheard(place state.Machine, notRunning error) error {
	if running, err := place.Running(); err != nil || !running {
		return errors.Join(notRunning, err)
	}
	if _, err := os.Stat(place.Socket()); !errors.Is(err, fs.ErrNotExist) {
		return notRunning // it ends just now, or is not there yet
	}
	id, err := place.Supervisor()
	if err != nil {
		return errors.Join(notRunning, err)
	}
	pidfd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return fmt.Errorf("%s: process %d: %w", place.Name, id.PID, err)
	}
	defer unix.Close(pidfd)
	if !id.Alive() { // and not somebody else with its number
		return notRunning
	}
	say(e.stderr, "%s: its control socket is gone; asking its supervisor, process %d, by SIGTERM", place.Name, id.PID)
	if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("%s: signal process %d: %w", place.Name, id.PID, err)
	}
	return place.Wait()
}

func newKill(e env) *cobra.Command {
	return e.machineCommand("kill NAME", "End a machine without asking its guest",
		`Kill ends QEMU at once, as if the plug were pulled: what the guest has not written
to its volumes yet is lost. "mvm stop" is the gentle way.`,
		func(cmd *cobra.Command, place state.Machine, c *control.Client) error {
			if _, err := c.Kill(cmd.Context(), e.show(place.Name)); err != nil {
				return err
			}
			return place.Wait()
		})
}

func newRestart(e env) *cobra.Command {
	var timeout time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:     "restart NAME",
		GroupID: "life",
		Short:   "Stop a machine, and start it in the background again",
		Long: `Restart stops a machine as stop does, and starts it as start does, from its
definition as it is now. One that cannot be started anew, because its definition is
wrong, is not stopped either. One that does not run is only started.

A machine that systemd runs is restarted by systemctl, and one that has a terminal
of its own belongs to that.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeStartable,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.restart(cmd.Context(), args[0], timeout, wait)
		},
	}
	timeoutFlag(cmd, &timeout)
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "return when the guest is ready")
	return cmd
}

func (e env) restart(ctx context.Context, arg string, timeout time.Duration, wait bool) error {
	place, err := e.place(arg)
	if err != nil {
		return err
	}
	s := e.ask(ctx, place)
	if s == nil {
		say(e.stderr, "%s: does not run; starting it", place.Name)
		return e.start(ctx, arg, wait)
	}
	if err := restartable(place.Name, s.PID); err != nil {
		return err
	}
	definition := s.Definition
	if definition == "" { // its supervisor does not answer
		definition = arg
	}
	if _, _, err := e.loadBootable(definition); err != nil {
		return err
	}
	if err := e.stop(ctx, place, control.NewClient(place.Name, place.Socket()), timeout); err != nil && !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	return e.start(ctx, definition, wait)
}

// restartable reports why a machine cannot be run by a background process in
// place of the process that runs it.
func restartable(name string, pid int) error {
	if unit := unitOf(pid); unit != "" {
		return &vmHint{fmt.Errorf("%s: systemd runs it, as %s", name, unit), "systemctl restart " + unit}
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || strings.Contains(string(args), "\x00"+backgroundFlag+"\x00") {
		return nil //nolint:nilerr // it has just ended, and stop will say so
	}
	return &vmHint{
		fmt.Errorf("%s: runs in the foreground, as process %d", name, pid),
		fmt.Sprintf("stop it and run it again where it runs, or make it a background machine: mvm stop %s && mvm start %s", name, name),
	}
}

// unitOf is the systemd service that a process belongs to, if that is one of
// mvm's: see cgroups(7) for the file.
func unitOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			if strings.HasPrefix(part, "mvm@") && strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return ""
}

// A vmHint is an error with advice that is about this very machine.
type vmHint struct {
	error
	hint string
}

func (e *vmHint) Unwrap() error { return e.error }
