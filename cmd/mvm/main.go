// Command mvm launches and supervises microVMs. Run "mvm help" for what it can
// do, and "mvm help exit-codes" for what its exit status means.
package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	stream := os.Getenv("JOURNAL_STREAM")
	stdout, stderr := journaled(os.Stdout, stream, consoleLevel), journaled(os.Stderr, stream, messageLevel)
	code := run(context.Background(), os.Args[1:], env{
		stdin: os.Stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv,
	})
	flushJournal(stdout)
	flushJournal(stderr)
	os.Exit(code)
}

// An env is what a process has from its caller. Only this package reads it.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// run is main without the globals, so that tests can call it.
func run(ctx context.Context, args []string, e env) int {
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var ended *endedError
	if !errors.As(err, &ended) || ended.report {
		report(e.stderr, err)
	}
	return exitCode(err)
}

func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "mvm",
		Short: "Launch and supervise microVMs",
		Long: `Mvm turns a closure of Nix store paths into a read-only disk, boots it in a
microVM, and looks after the machine until it ends. There is no daemon: each
running machine is one mvm process, and the other commands speak with it.

A machine is named by its definition: NAME is looked up as ./NAME.toml or
.json, then in $XDG_CONFIG_HOME/mvm and /etc/mvm; an argument with a slash or
an extension is a file.`,
		Example: `  mvm run myvm              # boot it, with its console on this terminal
  mvm run myvm -- uname -a  # boot it, run a command in it, power it off
  mvm ps                    # what runs
  mvm stop myvm             # from another terminal`,
		SilenceUsage:  true, // a failed boot is not a usage error
		SilenceErrors: true, // report prints them, once
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddGroup(
		&cobra.Group{ID: "life", Title: "Running machines:"},
		&cobra.Group{ID: "look", Title: "Looking without running:"},
		&cobra.Group{ID: "host", Title: "This host:"},
	)
	root.AddCommand(
		newRun(e), newStart(e), newStop(e), newRestart(e), newKill(e), newRm(e), newPs(e), newTop(e), newStatus(e), newExec(e), newShell(e), newCp(e), newConsole(e),
		newLogs(e), newEvents(e), newWait(e), newWhy(e),
		newCheck(e), newArgv(e), newMounts(e),
		newStore(e), newSystemd(e), newDoctor(e), newVersion(), newExitCodes(),
	)
	root.AddCommand(newMonitors(e)...)
	root.SetCompletionCommandGroupID("host")
	root.SetHelpCommandGroupID("host")
	wrapArgs(root)
	return root
}

// wrapArgs makes a wrong number of arguments a usage error in every command.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		wrapArgs(c)
	}
}
