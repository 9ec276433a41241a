package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/kernel"
	"github.com/mvmrun/mvm/vm/state"
)

func newArgv(e env) *cobra.Command {
	var why, asJSON, shell bool
	cmd := &cobra.Command{
		Use:     "argv NAME",
		GroupID: "look",
		Short:   "Print the QEMU command without running it",
		Long: `Argv prints the command that "mvm run" would start, one option to a line, quoted
for a shell. It starts nothing and makes nothing; the files that it names need
not exist yet. The descriptors in it (fd=3 and so on) are made by mvm.

The parameters that a closure brings for its kernel are read from the toplevel,
and left out with a warning if that cannot be read. The same definition gives the
same command until the next boot of this host: a guest under TCG is told how fast
the host's time stamp counter runs.

With --shell it prints a command that runs as it is, on this terminal and without
mvm, and makes what that takes: the store disk, volumes, and an initrd that stays
in the machine's state directory. What only mvm can do is missing then, and said
in comments.`,
		Example: `  mvm argv myvm
  mvm argv myvm --why       # and the key that caused each option
  mvm argv myvm --shell >boot.sh; sh boot.sh`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := e.load(args[0])
			if err != nil {
				return err
			}
			dirs, err := e.dirs()
			if err != nil {
				warn(e.stderr, "%v; the paths are those that root would have", err)
				dirs = systemDirs
			}
			if shell {
				return e.printShell(cmd.Context(), cmd.OutOrStdout(), c, dirs)
			}
			img, err := c.Resolve()
			if err != nil {
				warn(e.stderr, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
				img = c.Unresolved()
			}
			tsc := qemu.StartTSC()
			host, _, err := vm.DetectHost(cmd.Context(), c, img, dirs.Machine(c.MachineName()))
			if err != nil {
				return err
			}
			if host.Accel == qemu.TCG {
				host.TSCKHz = vm.SteadyTSC(dirs, tsc.KHz)
				if file, ok := kernel.Found(dirs.Kernels(), img.Kernel); ok {
					img.Kernel = file
				}
			}
			m, _, err := vm.Plan(c, img, host)
			if err != nil {
				return err
			}
			binary := c.QEMUBinary()
			if path, err := qemu.Find(binary, m.Type); err == nil {
				binary = path
			} else if binary == "" {
				binary = qemu.Program(m.Type)
			}
			flags := append([]qemu.Flag{{Args: []string{binary}, Why: "qemu.package"}}, m.Explain()...)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), jsonFlags(flags))
			}
			return printFlags(cmd.OutOrStdout(), flags, why)
		},
	}
	cmd.Flags().BoolVar(&why, "why", false, "say for each option which key caused it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of objects with args and why")
	cmd.Flags().BoolVar(&shell, "shell", false, "print a command that runs without mvm, and make what it needs")
	cmd.MarkFlagsMutuallyExclusive("why", "json", "shell")
	return cmd
}

// printShell prints a script of comments and one command.
func (e env) printShell(ctx context.Context, out io.Writer, c *vm.Config, dirs state.Dirs) error {
	sh, err := vm.PrepareShell(ctx, c, dirs, nil)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, note := range sh.Notes {
		// A path in it may hold anything, a line's end too.
		fmt.Fprintf(&b, "# %s\n", printable(note))
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	return printFlags(out, append([]qemu.Flag{{Args: []string{sh.Binary}}}, sh.Machine.Explain()...), false)
}

// A jsonFlag is a qemu.Flag as --json prints it.
type jsonFlag struct {
	Args []string `json:"args"`
	Why  string   `json:"why"`
}

func jsonFlags(flags []qemu.Flag) []jsonFlag {
	list := make([]jsonFlag, len(flags))
	for i, f := range flags {
		list[i] = jsonFlag(f)
	}
	return list
}

func printFlags(w io.Writer, flags []qemu.Flag, why bool) error {
	var b strings.Builder
	for i, f := range flags {
		words := make([]string, len(f.Args))
		for j, a := range f.Args {
			words[j] = quote(a)
		}
		line := strings.Join(words, " ")
		if i > 0 {
			line = "  " + line
		}
		switch {
		case why:
			// Comments cannot follow a continued line, so this form is for
			// reading only.
			fmt.Fprintf(&b, "%-60s # %s\n", line, printable(f.Why))
		case i < len(flags)-1:
			b.WriteString(line + " \\\n")
		default:
			b.WriteString(line + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
