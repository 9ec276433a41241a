package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/hostnet"
	"github.com/mvmrun/mvm/vm/state"
)

func newRm(e env) *cobra.Command {
	var volumes bool
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		GroupID: "life",
		Short:   "Remove what is kept of a machine",
		Long: `Rm removes what mvm keeps of a machine that does not run: its console's log, how it
ended, the roots that keep its closure in the Nix store, and what a supervisor that
was killed left behind. The definition and the store disk stay; "mvm store gc" removes
disks that nobody refers to.

Volumes in the machine's state directory are named, and stay too. With --volumes
they are removed, and what was on them is gone. Volumes elsewhere on the host are
never touched.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: e.completeKnownMany,
		RunE: func(_ *cobra.Command, args []string) error {
			var wrong []error
			for _, arg := range args {
				place, err := e.place(arg)
				if err == nil {
					err = e.remove(place, volumes)
				}
				wrong = append(wrong, err)
			}
			return errors.Join(wrong...)
		},
	}
	cmd.Flags().BoolVar(&volumes, "volumes", false, "remove its volumes as well, and what is on them")
	return cmd
}

func (e env) remove(place state.Machine, volumes bool) error {
	if _, err := os.Stat(place.State); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(place.Runtime); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: nothing is kept of it", place.Name)
		}
	}
	if err := place.Make(); err != nil { // one directory may be there alone
		return err
	}
	lock, err := place.Lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	kept, err := place.Volumes()
	if err != nil {
		return err
	}
	switch {
	case len(kept) > 0 && volumes:
		say(e.stderr, "%s: removing with what is on them:\n  %s", place.Name, strings.Join(kept, "\n  "))
	case len(kept) > 0:
		say(e.stderr, "%s: its volumes stay (--volumes removes them):\n  %s", place.Name, strings.Join(kept, "\n  "))
	}
	gone, err := hostnet.Sweep(place.Name)
	if err != nil && !errors.Is(err, fs.ErrPermission) { // an ordinary user has none
		warn(e.stderr, "%s: %v", place.Name, err)
	}
	if len(gone) > 0 {
		say(e.stderr, "%s: removed the network devices %s of a run that was killed", place.Name, strings.Join(gone, ", "))
	}
	return place.Remove(volumes)
}
