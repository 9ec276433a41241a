package main

import "github.com/spf13/cobra"

func newCheck(e env) *cobra.Command {
	return &cobra.Command{
		Use:     "check NAME",
		GroupID: "look",
		Short:   "Say everything that is wrong with a definition",
		Long: `Check reads a definition and says everything that is wrong with it at once, with
file and line. It looks at nothing else: the paths that it names need not exist.
When all is well it says nothing.`,
		Example:           "  mvm check myvm && mvm run myvm",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeDefinition,
		RunE: func(_ *cobra.Command, args []string) error {
			_, _, err := e.loadBootable(args[0])
			return err
		},
	}
}
