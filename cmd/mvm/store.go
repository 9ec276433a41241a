package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm"
)

func newStore(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "store",
		GroupID: "host",
		Short:   "Make, look at and clean up store disks",
		Long: `A store disk is a closure of Nix store paths as a read-only, reproducible image.
"mvm run" makes the one that a machine needs by itself and keeps it in a cache;
these commands do it apart from any machine, and look after the cache.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newStoreBuild(e), newStoreSize(e), newStoreExport(e),
		newStoreLs(e), newStoreVerify(e), newStoreGC(e), newStoreRm(e),
	)
	return cmd
}

// A source says which closure a command is about, and what image it becomes.
type source struct {
	closureInfo, paths, storeDir string
	include, exclude             []string
	typ, compression             string
	flags                        []string
}

func (s *source) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.closureInfo, "closure-info", "", "take the closure from this `DIR`, as nixpkgs' closureInfo makes it")
	f.StringVar(&s.paths, "paths", "", "take the closure from this `FILE`, one store path a line; - is standard input")
	f.StringVar(&s.storeDir, "store-dir", "", "where the store is on this host (default /nix/store)")
	f.StringArrayVar(&s.include, "include", nil, "add this store `PATH`, without what it refers to")
	f.StringArrayVar(&s.exclude, "exclude", nil, "leave this store `PATH` out")
	f.StringVarP(&s.typ, "type", "t", "", "erofs, squashfs, ext4 or btrfs (default erofs)")
	f.StringVar(&s.compression, "compression", "", "compress inside the file system: lz4, zstd:3, none, …")
	f.StringArrayVar(&s.flags, "mkfs-flag", nil, "a flag for mkfs.erofs or the squashfs tool")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"erofs", "squashfs", "ext4", "btrfs"}, cobra.ShellCompDirectiveNoFileComp))
}

// args checks that exactly one source is named.
func (s *source) args(_ *cobra.Command, args []string) error {
	named := s.closureInfo != "" || s.paths != ""
	switch {
	case s.closureInfo != "" && s.paths != "":
		return errors.New("--closure-info and --paths: give one of them")
	case named && len(args) > 0:
		return errors.New("a NAME and --closure-info or --paths: give one of them")
	case !named && len(args) != 1:
		return errors.New("give one NAME, or --closure-info DIR, or --paths FILE")
	}
	return nil
}

// resolve reads the closure and the options.
func (s *source) resolve(ctx context.Context, e env, cache *storedisk.Cache, args []string) (*storedisk.Closure, storedisk.Options, error) {
	var o storedisk.Options
	var cl *storedisk.Closure
	var err error
	switch {
	case s.closureInfo != "":
		cl, err = storedisk.ReadClosureInfo(s.closureInfo, s.storeDir)
	case s.paths == "-":
		cl, err = storedisk.ReadList(e.stdin, s.storeDir)
	case s.paths != "":
		cl, err = readPaths(s.paths, s.storeDir)
	default:
		var c *vm.Config
		if c, _, err = e.load(args[0]); err != nil {
			return nil, o, err
		}
		o = c.StoreDiskOptions()
		if dirs, err := e.dirs(); err == nil {
			// The image is the machine's: kept for it, and updated when its
			// closure changes, as if it had run.
			o.For = dirs.Machine(c.MachineName()).State
		}
		cl, err = c.Closure(ctx, cache)
	}
	if err != nil {
		return nil, o, err
	}
	if cl, err = cl.With(s.include...); err != nil {
		return nil, o, err
	}
	if cl, err = cl.Without(s.exclude...); err != nil {
		return nil, o, err
	}
	if s.typ != "" && !slices.Contains(storedisk.Types, storedisk.Type(s.typ)) {
		return nil, o, usageError{fmt.Errorf("--type %q: want erofs, squashfs, ext4 or btrfs", s.typ)}
	}
	if s.typ != "" {
		o.Type, o.Compression, o.ErofsFlags, o.SquashfsFlags = storedisk.Type(s.typ), "", nil, nil
	}
	if s.compression != "" {
		o.Compression = s.compression
	}
	switch {
	case len(s.flags) == 0:
	case o.Type == storedisk.Squashfs:
		o.SquashfsFlags = s.flags
	default:
		o.ErofsFlags = s.flags
	}
	return cl, o, nil
}

func readPaths(file, storeDir string) (*storedisk.Closure, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cl, err := storedisk.ReadList(f, storeDir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cl, nil
}

// cache is the cache of this user, with progress for a person.
func (e env) cache(s *screen) (*storedisk.Cache, error) {
	dirs, err := e.dirs()
	if err != nil {
		return nil, err
	}
	return &storedisk.Cache{Dir: dirs.Cache, Progress: newProgress(s, "store").disk}, nil
}

// maybeCache is the cache of this user or, for somebody without a home such as
// the builder of a derivation, none: what does not keep images needs none.
func (e env) maybeCache(s *screen) *storedisk.Cache {
	cache, err := e.cache(s)
	if err == nil {
		err = os.MkdirAll(cache.Dir, 0o700)
	}
	if err != nil {
		cache = &storedisk.Cache{Progress: newProgress(s, "store").disk}
	}
	return cache
}

func newStoreSize(e env) *cobra.Command {
	var src source
	var asJSON bool
	var top int
	cmd := &cobra.Command{
		Use:               "size NAME | --closure-info DIR | --paths FILE",
		Short:             "Show how large a closure is, and its largest paths",
		Args:              src.args,
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			screen := newScreen(e)
			defer screen.close()
			cl, _, err := src.resolve(cmd.Context(), e, e.maybeCache(screen), args)
			if err != nil {
				return err
			}
			r, err := storedisk.Size(cmd.Context(), cl)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return printSize(cmd.OutOrStdout(), r, top)
		},
	}
	src.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object with every path")
	cmd.Flags().IntVarP(&top, "number", "n", 10, "how many paths to show; 0 is all")
	return cmd
}

func printSize(w io.Writer, r *storedisk.SizeReport, top int) error {
	for i, p := range r.Paths {
		if top > 0 && i == top {
			break
		}
		if _, err := fmt.Fprintf(w, "%10s  %s\n", storedisk.FormatBytes(p.Bytes), p.Path); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%10s  in %d paths\n", storedisk.FormatBytes(r.Bytes), len(r.Paths))
	return err
}

// built says what was made, on standard error: standard output has the path.
func built(s *screen, img *storedisk.Image) {
	s.tell("store: %s %s in %v, %s, uuid %s", img.Origin, img.Type, img.Took.Round(time.Millisecond),
		storedisk.FormatBytes(img.Size), orDash(img.UUID))
}
