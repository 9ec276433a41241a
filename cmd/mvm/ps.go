package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/hostnet"
	"github.com/mvmrun/mvm/vm/state"
)

// askFor is how long one machine's supervisor may take to answer. A healthy one
// takes a millisecond; a stopped one must not stop the list.
const askFor = 2 * time.Second

func newPs(e env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ps",
		GroupID: "life",
		Short:   "List the machines that run",
		Long: `Ps lists the machines of this user that run. Nothing is taken for running that
is not: each machine's lock is looked at and its supervisor asked. What a killed
supervisor left behind is removed and said.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := e.running(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSTATE\tPID\tUPTIME\tACCEL\tVCPU\tMEM\tREADY AFTER")
			for _, s := range list {
				ready := "-"
				if s.ReadyAfter > 0 {
					ready = s.ReadyAfter.Round(10 * time.Millisecond).String()
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%d MiB\t%s\n", s.Name, s.State, s.PID,
					time.Since(s.Started).Round(time.Second), orDash(s.Accel), s.VCPU, s.MemMiB, ready)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of objects")
	return cmd
}

// running asks every machine at once and returns those that run, by name.
func (e env) running(ctx context.Context) ([]control.Status, error) {
	dirs, err := e.dirs()
	if err != nil {
		return nil, err
	}
	names, err := dirs.Names()
	if err != nil {
		return nil, err
	}
	answers := make([]*control.Status, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { answers[i] = e.ask(ctx, dirs.Machine(name)) })
	}
	wg.Wait()
	list := []control.Status{} // never null in JSON
	for _, a := range answers {
		if a != nil {
			list = append(list, *a)
		}
	}
	return list, nil
}

// ask returns a machine's status, or nil if it does not run.
func (e env) ask(ctx context.Context, place state.Machine) *control.Status {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	s, err := control.NewClient(place.Name, place.Socket()).Status(ctx)
	if err == nil {
		return &s
	}
	running, lockErr := place.Running()
	if running && errors.Is(err, control.ErrNotRunning) { // moving in or out, most likely
		if e.comes(ctx, place, control.NewClient(place.Name, place.Socket())) {
			return e.ask(ctx, place)
		}
		running, lockErr = place.Running()
	}
	switch {
	case lockErr != nil:
		warn(e.stderr, "%s: %v", place.Name, lockErr)
		return nil
	case running:
		id, _ := place.Supervisor() // zero if it could not write that down
		if _, serr := os.Stat(place.Socket()); errors.Is(serr, fs.ErrNotExist) {
			warn(e.stderr, "%s: its supervisor, process %d, has lost its control socket: somebody removed %s", place.Name, id.PID, place.Runtime)
		} else {
			warn(e.stderr, "%s: its supervisor, process %d, does not answer: %v", place.Name, id.PID, err)
		}
		return &control.Status{Name: place.Name, State: "unknown", PID: id.PID, Started: time.Now()}
	}
	e.tidy(place)
	return nil
}

// found is the error of a command that has found a machine not running. If that
// is news, because its supervisor was killed, it says so and cleans up.
func (e env) found(place state.Machine, err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		if running, lockErr := place.Running(); lockErr == nil && !running {
			e.tidy(place)
		}
	}
	return err
}

// tidy removes what a supervisor that was killed left in the run-time
// directory, under the lock, so that a machine that is just starting is safe.
func (e env) tidy(place state.Machine) {
	lock, err := place.Lock()
	if err != nil {
		return // somebody has it now: it is theirs
	}
	defer lock.Release()
	id, err := place.ReadIdentity()
	if err != nil {
		return
	}
	if err := place.RemoveRuntime(); err != nil {
		warn(e.stderr, "%s: %v", place.Name, err)
		return
	}
	devices, err := hostnet.Sweep(place.Name)
	if err != nil && !errors.Is(err, fs.ErrPermission) { // an ordinary user has none
		warn(e.stderr, "%s: %v", place.Name, err)
	}
	left := "what it left"
	if len(devices) > 0 {
		left += " (" + strings.Join(devices, ", ") + ")"
	}
	how := fmt.Sprintf("its supervisor, process %d, was killed; its QEMU ended with it", id.PID)
	if !id.OfThisBoot() {
		how = "the host went down while it ran"
	}
	warn(e.stderr, "%s: %s, and %s is removed", place.Name, how, left)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
