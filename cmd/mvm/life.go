package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// machineCommand is a command about one machine that runs.
func (e env) machineCommand(use, short, long string, f func(cmd *cobra.Command, place state.Machine, c *control.Client) error) *cobra.Command {
	return &cobra.Command{
		Use:               use,
		GroupID:           "life",
		Short:             short,
		Long:              long,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeRunning,
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := e.place(args[0])
			if err != nil {
				return err
			}
			c := control.NewClient(place.Name, place.Socket())
			err = f(cmd, place, c)
			if errors.Is(err, control.ErrNotRunning) && e.comes(cmd.Context(), place, c) {
				err = f(cmd, place, c)
			}
			return e.found(place, err)
		},
	}
}

// comes reports whether a machine that did not answer does so now: it may have been
// locked a moment ago, and have no socket yet.
func (e env) comes(ctx context.Context, place state.Machine, c *control.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, comeLimit)
	defer cancel()
	ok, err := place.Await(ctx, func() bool {
		_, err := c.Status(ctx)
		return err == nil
	})
	return ok && err == nil
}

// comeLimit is how long a machine may take from its lock to its socket. It takes
// a millisecond.
const comeLimit = 5 * time.Second

// show prints events for a person.
func (e env) show(name string) func(control.Event) {
	return func(ev control.Event) { say(e.stderr, "%s: %s", name, ev.Message) }
}

func newWait(e env) *cobra.Command {
	return e.machineCommand("wait NAME", "Wait until a machine has ended",
		`Wait returns when the machine has ended, with the exit status that its "mvm run"
has.`,
		func(cmd *cobra.Command, place state.Machine, c *control.Client) error {
			exit, err := c.Follow(cmd.Context(), func(control.Event) {})
			if err == nil {
				err = place.Wait()
			}
			if err != nil {
				return err
			}
			return ended(*exit)
		})
}

func newEvents(e env) *cobra.Command {
	return e.machineCommand("events NAME", "Print what happens to a machine, as JSON lines",
		`Events prints one JSON object a line for everything that happened to a machine
since it was started and for everything that happens from then on, until it has
ended.`,
		func(cmd *cobra.Command, _ state.Machine, c *control.Client) error {
			enc := json.NewEncoder(cmd.OutOrStdout())
			_, err := c.Follow(cmd.Context(), func(ev control.Event) { _ = enc.Encode(ev) })
			return err
		})
}

// newMonitors are the commands that are one order to QEMU each.
func newMonitors(e env) []*cobra.Command {
	order := func(use, do, short, long string) *cobra.Command {
		return e.machineCommand(use, short, long, func(cmd *cobra.Command, _ state.Machine, c *control.Client) error {
			return c.Monitor(cmd.Context(), control.Order{Do: do})
		})
	}
	resize := func(do, short, long string) *cobra.Command {
		return &cobra.Command{
			Use:               do + " NAME MIB",
			GroupID:           "life",
			Short:             short,
			Long:              long,
			Args:              cobra.ExactArgs(2),
			ValidArgsFunction: e.completeRunning,
			RunE: func(cmd *cobra.Command, args []string) error {
				place, err := e.place(args[0])
				if err != nil {
					return err
				}
				mib, err := strconv.Atoi(args[1])
				if err != nil {
					return usageError{fmt.Errorf("%q is no number of MiB", args[1])}
				}
				return e.found(place, control.NewClient(place.Name, place.Socket()).Monitor(cmd.Context(), control.Order{Do: do, MiB: mib}))
			},
		}
	}
	return []*cobra.Command{
		order("pause NAME", "pause", "Stop a guest's processors", "Pause stops the guest's processors where they are, until resume."),
		order("resume NAME", "resume", "Let a paused guest go on", "Resume lets the guest's processors run again."),
		order("reset NAME", "reset", "Press a guest's reset button", "Reset resets the machine: the guest is not asked."),
		resize("balloon", "Ask a guest to give memory back, or to take it again",
			`Balloon asks the guest to do with so many MiB of memory. The guest follows in its
own time, as far as it can. The definition must have balloon = true.`),
		resize("memory", "Plug more memory into a guest, or pull it out",
			`Memory gives the guest so many MiB in all: from the definition's mem to mem and
hotplugMem together, in steps of 2 MiB. The guest follows in its own time, and
gives back what it can do without. The definition must have hotplugMem.`),
	}
}

func newStatus(e env) *cobra.Command {
	var asJSON, shutIn bool
	cmd := e.machineCommand("status NAME", "Show how a machine is, or how it ended",
		`Status shows a machine that runs. For one that does not, it shows how it ended
when it ran last. A guest that is ready has each mount of its plan compared with
what is mounted there; when they differ, both are shown, and the machine ends.

With --security it shows how QEMU and its helpers are shut in, as the kernel has
it at this moment: users, system call filters, capabilities, what is open for
writing and who listens. It fails with 104 if that is weaker than the definition
says.`,
		func(cmd *cobra.Command, place state.Machine, client *control.Client) error {
			if shutIn {
				return printSecurity(cmd.Context(), cmd.OutOrStdout(), client, asJSON)
			}
			s := e.ask(cmd.Context(), place)
			if s == nil {
				return e.lastExit(cmd, place, asJSON)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%-12s %s\n", "machine", s.Name)
			fmt.Fprintf(out, "%-12s %s, for %v\n", "state", s.State, time.Since(s.Started).Round(time.Second))
			if s.ReadyAfter > 0 {
				fmt.Fprintf(out, "%-12s after %.2f s\n", "ready", s.ReadyAfter.Seconds())
			}
			fmt.Fprintf(out, "%-12s %d", "supervisor", s.PID)
			if s.QEMU > 0 {
				fmt.Fprintf(out, ", QEMU %d (%s)", s.QEMU, s.Accel)
			}
			fmt.Fprintf(out, "\n%-12s %d CPUs, %s, kernel %s\n", "guest", s.VCPU, memoryText(s), orDash(s.Kernel))
			fmt.Fprintf(out, "%-12s %s\n", "definition", s.Definition)
			fmt.Fprintf(out, "%-12s %s\n", "store disk", orDash(s.StoreDisk))
			return writeMounts(out, s.Mounts)
		})
	cmd.ValidArgsFunction = e.completeKnown
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object")
	cmd.Flags().BoolVar(&shutIn, "security", false, "show how its processes are shut in")
	return cmd
}

// memoryText is a guest's memory for a person: "256 MiB, 128 MiB plugged in".
func memoryText(s *control.Status) string {
	text := fmt.Sprintf("%d MiB", s.MemMiB)
	if p := s.PluggedMiB; p != nil {
		text += fmt.Sprintf(", %d MiB plugged in", *p)
	}
	if b := s.BalloonMiB; b != nil && *b < s.MemMiB {
		text += fmt.Sprintf(", %d MiB in the balloon", s.MemMiB-*b)
	}
	return text
}

// writeMounts prints the mounts of a plan as the guest reported them.
func writeMounts(out io.Writer, list []control.Mount) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i, m := range list {
		head := ""
		if i == 0 {
			head = "mounts"
		}
		if m.Wrong == "" {
			fmt.Fprintf(w, "%-12s %s\t%s\t%s\tok\n", head, m.Where, m.Type, m.Source)
			continue
		}
		fmt.Fprintf(w, "%-12s %s %s\n%-14s planned: %s\n%-14s mounted: %s\n",
			head, m.Where, m.Wrong, "", m.Planned, "", cmp.Or(m.Mounted, "nothing"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, b.String())
	return err
}
