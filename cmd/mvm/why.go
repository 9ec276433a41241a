package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

func newWhy(e env) *cobra.Command {
	var asJSON bool
	var lines int
	var bundle string
	cmd := e.machineCommand("why NAME", "Say why a machine ended",
		`Why says how a machine ended when it ran last, what to do about it, and shows what
speaks for it: what the guest added to its error, what the kernel killed for want of
memory, QEMU's own messages and last events, what its helpers wrote, and the end of
the guest's console.

With --bundle it writes all that into an archive, together with the definition, the
command line, the mounts, and what this host is and has: for a report. That works for
a machine that runs, too. Secrets are left out as far as they can be told from the
rest; the archive's README says how.`,
		func(cmd *cobra.Command, place state.Machine, _ *control.Client) error {
			if bundle != "" {
				return e.bundle(cmd.Context(), cmd.Flags().Arg(0), place, bundle)
			}
			if s := e.ask(cmd.Context(), place); s != nil {
				return fmt.Errorf("%s: has not ended: it is %s", place.Name, s.State)
			}
			exit, err := readExit(place)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), exit)
			}
			return printWhy(cmd.OutOrStdout(), place, exit, lines)
		})
	cmd.ValidArgsFunction = e.completeKnown
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object with all evidence")
	cmd.Flags().StringVar(&bundle, "bundle", "", "write all that is known into this file: .tar.gz, .tgz or .tar.zst")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many lines of each kind of evidence to show")
	return cmd
}

func printWhy(w io.Writer, place state.Machine, exit *control.Exit, lines int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", place.Name, exit.Reason)
	if !exit.Ended.IsZero() {
		fmt.Fprintf(&b, ", at %s", exit.Ended.Local().Format(time.DateTime))
	}
	b.WriteByte('\n')
	if exit.Status != nil {
		fmt.Fprintf(&b, "the guest's exit status was %d\n", *exit.Status)
	}
	if exit.Detail != "" {
		fmt.Fprintln(&b, exit.Detail)
	}
	if exit.Hint != "" {
		fmt.Fprintf(&b, "hint: %s\n", exit.Hint)
	}
	for _, part := range []struct{ what, text string }{
		{"what the guest added", exit.Evidence.Guest},
		{"memory", exit.Evidence.Memory},
		{"QEMU's messages", exit.Evidence.QEMU},
		{"QEMU's last events", exit.Evidence.Events},
		{"what its helpers wrote", exit.Evidence.Helpers},
		{"the end of the console", exit.Evidence.Console},
	} {
		if text := strings.TrimSpace(part.text); text != "" {
			fmt.Fprintf(&b, "\n%s:\n%s", part.what, tail(text, lines))
		}
	}
	if exit.Detail != "" {
		fmt.Fprintf(&b, "\nthe whole console is in %s\n", place.ConsoleLog())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tail is the last lines of text, indented and without what steers a terminal.
func tail(text string, lines int) string {
	all := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
	all = all[max(0, len(all)-lines):]
	var b strings.Builder
	for _, l := range all {
		fmt.Fprintf(&b, "  %s\n", strings.Map(func(r rune) rune {
			if r != '\t' && !strconv.IsPrint(r) {
				return '?'
			}
			return r
		}, l))
	}
	return b.String()
}

// readExit reads how the machine ended last.
func readExit(place state.Machine) (*control.Exit, error) {
	b, err := os.ReadFile(place.LastExit())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no end is recorded: it has never run here, or its supervisor was killed", place.Name)
	}
	if err != nil {
		return nil, err
	}
	var exit control.Exit
	if err := json.Unmarshal(b, &exit); err != nil {
		return nil, fmt.Errorf("%s: %w", place.LastExit(), err)
	}
	return &exit, nil
}

// lastExit is the status of a machine that does not run.
func (e env) lastExit(cmd *cobra.Command, place state.Machine, asJSON bool) error {
	exit, err := readExit(place)
	if err != nil {
		return fmt.Errorf("%s: %w", place.Name, control.ErrNotRunning)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), control.Status{Name: place.Name, State: control.Exited, Exit: exit})
	}
	text := string(exit.Reason)
	if exit.Detail != "" {
		text += ": " + exit.Detail
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-12s %s\n%-12s %s\n", "machine", place.Name, "ended", text)
	return err
}
