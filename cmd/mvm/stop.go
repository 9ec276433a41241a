package main

import (
	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm/control"
)

func newStop(e env) *cobra.Command {
	return &cobra.Command{
		Use:     "stop NAME",
		GroupID: "life",
		Short:   "Stop a machine and wait until it is gone",
		Long: `Stop asks the guest to power off, and forces it when it does not within the
definition's stopTimeout. It shows what it tries and returns when nothing is left
of the machine. Its exit status is 0 if the machine is gone, whichever way.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeRunning,
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := e.place(args[0])
			if err != nil {
				return err
			}
			exit, err := control.NewClient(place.Name, place.Socket()).Stop(cmd.Context(), func(ev control.Event) {
				say(e.stderr, "%s: %s", place.Name, ev.Message)
			})
			if err != nil {
				return err
			}
			if exit.Reason == control.Killed {
				warn(e.stderr, "%s: %s", place.Name, exit.Detail)
			}
			return nil
		},
	}
}
