package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/storedisk"
)

func newStoreLs(e env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the store disks in the cache",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := e.cache(newScreen(e))
			if err != nil {
				return err
			}
			list, err := cache.List(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				if list == nil {
					list = []storedisk.Info{} // never null in JSON
				}
				return printJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "DIGEST\tTYPE\tSIZE\tPATHS\tUSED\tSTATE\tFOR")
			for _, i := range list {
				fmt.Fprintf(w, "%.12s\t%s\t%s\t%d\t%s ago\t%s\t%s\n", i.Digest, i.Type, storedisk.FormatBytes(i.Size), i.Paths,
					age(i.LastUsed), imageState(i), orDash(strings.Join(machineNames(i.For), ", ")))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of objects")
	return cmd
}

func age(t time.Time) string {
	switch d := time.Since(t); {
	case d < time.Minute:
		return "moments"
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

func imageState(i storedisk.Info) string {
	switch {
	case i.Unfinished:
		return "unfinished"
	case i.InUse:
		return "in use"
	}
	return "-"
}

// machineNames are the names of the machines whose state directories these are.
func machineNames(dirs []string) []string {
	names := make([]string, len(dirs))
	for i, d := range dirs {
		names[i] = filepath.Base(d)
	}
	return names
}

func newStoreVerify(e env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [DIGEST...]",
		Short: "Check store disks in the cache, all without an argument",
		Long: `Verify runs the file system's own checker on each image, and compares its content
with the digest that was recorded when it was verified first. An image that fails
is named and kept.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cache, err := e.cache(newScreen(e))
			if err != nil {
				return err
			}
			list, err := selected(cmd, cache, args)
			if err != nil {
				return err
			}
			verdicts, bad := []*storedisk.Verdict{}, 0
			for _, i := range list {
				v, err := cache.Verify(cmd.Context(), i.Path)
				if err != nil {
					return err
				}
				verdicts = append(verdicts, v)
				if v.Fault != "" {
					bad++
				}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), verdicts)
			} else {
				err = printVerdicts(cmd, verdicts)
			}
			if err == nil && bad > 0 {
				return &storedisk.HostError{
					Op: "verify", Err: fmt.Errorf("%d of %s not sound", bad, storeDisks(len(list))),
					Hint: "remove them (mvm store rm DIGEST) and let them be made again; then look after the disk they lie on",
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of objects")
	return cmd
}

func printVerdicts(cmd *cobra.Command, verdicts []*storedisk.Verdict) error {
	for _, v := range verdicts {
		text := "ok"
		switch {
		case v.Fault != "":
			text = v.Fault
		case v.First:
			text = "ok; its digest is recorded for the next time"
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%.12s.%s  %s\n", v.Digest, v.Type, text); err != nil {
			return err
		}
	}
	return nil
}

// selected are the images whose digests begin with one of args, or all.
func selected(cmd *cobra.Command, cache *storedisk.Cache, args []string) ([]storedisk.Info, error) {
	list, err := cache.List(cmd.Context())
	if err != nil || len(args) == 0 {
		return list, err
	}
	var found []storedisk.Info
	for _, a := range args {
		n := len(found)
		for _, i := range list {
			if strings.HasPrefix(i.Digest, a) {
				found = append(found, i)
			}
		}
		if len(found) == n {
			return nil, usageError{fmt.Errorf("no store disk in %s begins with %q", cache.Dir, a)}
		}
	}
	return found, nil
}

func newStoreRm(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "rm DIGEST...",
		Short: "Remove store disks from the cache, whoever wants them",
		Long: `Rm removes the images whose digests begin with one of the arguments, unless a
machine uses them. The next run of a machine that wants one makes it again.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cache, err := e.cache(newScreen(e))
			if err != nil {
				return err
			}
			list, err := selected(cmd, cache, args)
			if err != nil {
				return err
			}
			var errs []error
			for _, i := range list {
				errs = append(errs, cache.Remove(i.Path))
			}
			return errors.Join(errs...)
		},
	}
}

func newStoreGC(e env) *cobra.Command {
	var limit string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove store disks that nobody needs",
		Long: `Gc removes images from the cache that no machine wants and nobody uses, the least
recently used first, until the cache is not larger than --max-size. A machine
wants the image that it booted last, for as long as its state directory is there.`,
		Example: "  mvm store gc --max-size 20G",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			most, err := parseSize(limit)
			if err != nil {
				return usageError{fmt.Errorf("--max-size %q: %w", limit, err)}
			}
			cache, err := e.cache(newScreen(e))
			if err != nil {
				return err
			}
			r, err := cache.GC(cmd.Context(), storedisk.GCOptions{MaxSize: most, DryRun: dryRun, Gone: gone})
			if err != nil {
				return err
			}
			for _, i := range r.Removed {
				fmt.Fprintf(cmd.OutOrStdout(), "%.12s.%s  %s\n", i.Digest, i.Type, storedisk.FormatBytes(i.Size))
			}
			verb := "removed"
			if dryRun {
				verb = "would remove"
			}
			say(e.stderr, "%s %s, %s; %s are left", verb, storeDisks(len(r.Removed)), storedisk.FormatBytes(r.Freed), storedisk.FormatBytes(r.Left))
			return nil
		},
	}
	cmd.Flags().StringVar(&limit, "max-size", "0", "how large the cache may stay, as 500M or 20G")
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only say what would go")
	return cmd
}

// gone reports whether the machine with this state directory is no more. One
// that cannot be looked at, since it is another user's, is not gone.
func gone(stateDir string) bool {
	_, err := os.Stat(stateDir)
	return os.IsNotExist(err)
}

// parseSize reads a number of bytes with a unit: K, M, G or T, of 1024.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	if i := strings.IndexAny("KMGT", strings.ToUpper(s[max(0, len(s)-1):])); i >= 0 && s != "" {
		number, unit = s[:len(s)-1], int64(1)<<(10*(i+1))
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("want a number of bytes, or one with K, M, G or T")
	}
	return n * unit, nil
}

func storeDisks(n int) string {
	if n == 1 {
		return "1 store disk"
	}
	return fmt.Sprintf("%d store disks", n)
}
