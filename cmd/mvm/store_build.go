package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm/state"
)

func newStoreBuild(e env) *cobra.Command {
	var src source
	var out string
	cmd := &cobra.Command{
		Use:   "build NAME | --closure-info DIR | --paths FILE",
		Short: "Make a store disk",
		Long: `Build makes the store disk of a machine, or of any closure, and prints its path.

Without -o the image is in the cache, where "mvm run" finds it. With -o it is a
file of its own: a mkfs for store paths that needs neither root, a network nor
/dev/kvm, gives the same bytes wherever it runs, and can so be the builder of a
Nix derivation.`,
		Example: `  mvm store build myvm
  mvm store build --closure-info ./closure -t squashfs -o store.squashfs
  nix-store -qR /run/current-system | mvm store build --paths - -o store.erofs`,
		Args:              src.args,
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			screen := newScreen(e)
			defer screen.close()
			cache := e.maybeCache(screen)
			if cache.Dir == "" && out == "" {
				_, err := e.cache(screen)
				return err
			}
			cl, o, err := src.resolve(cmd.Context(), e, cache, args)
			if err != nil {
				return err
			}
			img, err := buildImage(cmd, cache, cl, o, out)
			if err != nil {
				return err
			}
			defer img.Close()
			built(screen, img)
			_, err = fmt.Fprintln(cmd.OutOrStdout(), img.Path)
			return err
		},
	}
	src.register(cmd)
	cmd.Flags().StringVarP(&out, "output", "o", "", "make this `FILE` instead of one in the cache")
	return cmd
}

func buildImage(cmd *cobra.Command, cache *storedisk.Cache, cl *storedisk.Closure, o storedisk.Options, out string) (*storedisk.Image, error) {
	if out == "" {
		img, err := cache.Build(cmd.Context(), cl, o)
		if err != nil {
			return nil, err
		}
		if err := cache.Settle(cmd.Context(), img); err != nil {
			return nil, errors.Join(err, img.Close())
		}
		return img, nil
	}
	path, err := filepath.Abs(out)
	if err != nil {
		return nil, err
	}
	return cache.Create(cmd.Context(), cl, o, path)
}

func newStoreExport(e env) *cobra.Command {
	var src source
	var out, compress string
	cmd := &cobra.Command{
		Use:   "export NAME | --closure-info DIR | --paths FILE",
		Short: "Write a store disk to be shipped",
		Long: `Export writes the store disk of a machine, or of any closure, to a file or a
pipe. An exported erofs image is packed: it has no holes and is as long as what it
holds. With --compress zstd it is smaller still, and a guest cannot use it until
it was expanded.`,
		Example: `  mvm store export myvm -o myvm.erofs
  mvm store export myvm --compress zstd | ssh host 'zstd -d > myvm.erofs'`,
		Args:              src.args,
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			if compress != "" && compress != "zstd" {
				return usageError{fmt.Errorf("--compress %q: want zstd", compress)}
			}
			if _, tty := terminal(e.stdout); tty && out == "-" {
				return usageError{errors.New("an image is nothing for a terminal: name a file with -o, or redirect the output")}
			}
			screen := newScreen(e)
			defer screen.close()
			cache := e.maybeCache(screen)
			cl, o, err := src.resolve(cmd.Context(), e, cache, args)
			if err != nil {
				return err
			}
			write := func(w io.Writer) error {
				if compress == "" {
					return cache.Stream(cmd.Context(), cl, o, w)
				}
				z, err := storedisk.ZstdWriter(w)
				if err != nil {
					return err
				}
				return errors.Join(cache.Stream(cmd.Context(), cl, o, z), z.Close())
			}
			if out == "-" {
				return write(e.stdout)
			}
			return state.Replace(out, 0o644, func(f *os.File) error { return write(f) })
		},
	}
	src.register(cmd)
	cmd.Flags().StringVarP(&out, "output", "o", "-", "write this `FILE`; - is standard output")
	cmd.Flags().StringVar(&compress, "compress", "", "compress the finished image: zstd")
	return cmd
}
