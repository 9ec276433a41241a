package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/console"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

func newLogs(e env) *cobra.Command {
	var follow bool
	var lines int
	var since string
	cmd := e.machineCommand("logs NAME", "Print what a guest wrote to its console",
		`Logs prints the machine's console log, of this run and of those before it as far
as the log goes back. With -f it goes on with the console until the guest ends.

--since takes how long ago (90s, 10m, 2h30m) or when (15:04, 2006-01-02,
"2006-01-02 15:04:05", or with a zone 2006-01-02T15:04:05+01:00), and is right to a
second.`,
		func(cmd *cobra.Command, place state.Machine, c *control.Client) error {
			var from time.Time
			if since != "" {
				var err error
				if from, err = parseSince(since, time.Now()); err != nil {
					return usageError{err}
				}
			}
			if err := printLog(cmd.OutOrStdout(), place.ConsoleLog(), from, lines); err != nil {
				return err
			}
			if !follow {
				return nil
			}
			r, err := c.Watch(cmd.Context(), 0)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(cmd.OutOrStdout(), r)
			return err
		})
	cmd.ValidArgsFunction = e.completeKnown
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the guest ends")
	cmd.Flags().StringVar(&since, "since", "", "print only what was written since then")
	cmd.Flags().IntVarP(&lines, "lines", "n", 0, "print only so many of the last lines; 0 is all")
	return cmd
}

// parseSince reads a time, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: want how long ago, as 10m, or when, as 15:04 or %q", text, time.DateTime)
}

// printLog prints the log that turned over, then the one that is written, from a
// time on unless that is zero.
func printLog(w io.Writer, path string, from time.Time, lines int) error {
	var text []byte
	found := false
	for _, p := range []string{path + ".1", path} {
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		if !from.IsZero() {
			at, ok, err := console.OffsetSince(p, from)
			if err != nil {
				return err
			}
			if !ok || at > int64(len(b)) {
				continue
			}
			b = b[at:]
		}
		text = append(text, b...)
	}
	if !found {
		return &fs.PathError{Op: "read", Path: path, Err: errors.New("the machine has never run here")}
	}
	if lines > 0 {
		text = lastLines(text, lines)
	}
	_, err := w.Write(text)
	return err
}

func lastLines(text []byte, n int) []byte {
	at := len(text)
	for ; n >= 0 && at > 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
		if at < 0 {
			return text
		}
		if n == 0 {
			return text[at+1:]
		}
	}
	return text
}

func newConsole(e env) *cobra.Command {
	return e.machineCommand("console NAME", "Attach to a guest's console",
		`Console connects this terminal with the console of a machine that runs: what the
guest wrote last is shown, and everything typed goes to the guest. Ctrl-] detaches
and leaves the machine alone. Any number of people may read a console; one may
type at it.`,
		func(cmd *cobra.Command, place state.Machine, c *control.Client) error {
			conn, err := c.Console(cmd.Context(), 4096)
			if err != nil {
				return err
			}
			defer conn.Close()
			screen := newScreen(e)
			defer screen.close()
			screen.tell("console of %s; Ctrl-] detaches", place.Name)
			_ = screen.attach(conn, func() { conn.Close() }) // ends as it likes
			return nil
		})
}
