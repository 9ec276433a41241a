package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/mounts"
)

// mountFormats are the renderings of a mount plan, in the order of the help.
var mountFormats = []struct {
	name, about string
	write       func(io.Writer, mounts.Plan) error
}{
	{"fstab", "for a person, or /etc/fstab", func(w io.Writer, p mounts.Plan) error { return write(w, p.Fstab()) }},
	{"json", "as the guest is given it", func(w io.Writer, p mounts.Plan) error {
		b, err := mounts.Encode(p)
		if err != nil {
			return err
		}
		return write(w, string(b))
	}},
	{"nix-json", "NixOS's fileSystems and units, to compare", func(w io.Writer, p mounts.Plan) error { return write(w, p.NixJSON()) }},
	{"nix", "a NixOS module", func(w io.Writer, p mounts.Plan) error { return write(w, p.Nix()) }},
	{"systemd", "unit files, each after a line with its name", writeUnits},
}

func newMounts(e env) *cobra.Command {
	var format string
	var names []string
	var about strings.Builder
	for _, f := range mountFormats {
		names = append(names, f.name)
		fmt.Fprintf(&about, "  %-9s %s\n", f.name, f.about)
	}
	cmd := &cobra.Command{
		Use:     "mounts NAME",
		GroupID: "look",
		Short:   "Print what the guest mounts, and where",
		Long: `Mounts prints the mount plan that a definition leads to. It reads the definition
and nothing else. The formats are

` + about.String(),
		Example:           "  mvm mounts myvm --format systemd",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, f := range mountFormats {
				if f.name != format {
					continue
				}
				c, _, err := e.loadPlannable(args[0])
				if err != nil {
					return err
				}
				plan, err := c.MountPlan()
				if err != nil {
					return err
				}
				return f.write(cmd.OutOrStdout(), plan)
			}
			return usageError{fmt.Errorf("format %q: want one of %s", format, strings.Join(names, ", "))}
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "fstab", "one of "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func write(w io.Writer, text string) error {
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func writeUnits(w io.Writer, p mounts.Plan) error {
	for _, part := range []struct {
		dir   string
		units []mounts.Unit
	}{{"initrd", p.InitrdUnits()}, {"system", p.SystemUnits()}} {
		for _, u := range part.units {
			if _, err := fmt.Fprintf(w, "# %s/%s\n%s\n", part.dir, u.Name, strings.TrimRight(u.Text, "\n")); err != nil {
				return err
			}
		}
	}
	return nil
}
