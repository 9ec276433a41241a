package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mvmrun/mvm/storedisk"
)

// File is the file that the definition was loaded from, or "".
func (c *Config) File() string {
	if c.src == nil {
		return ""
	}
	return filepath.Join(c.src.dir, filepath.Base(c.src.file))
}

// Closure is what the definition puts on the store disk: the closure of
// Toplevel and StorePaths, or what ClosureInfo lists.
func (c *Config) Closure(ctx context.Context, cache *storedisk.Cache) (*storedisk.Closure, error) {
	if c.ClosureInfo != "" {
		return storedisk.ReadClosureInfo(c.Path(c.ClosureInfo), c.HostStoreDir())
	}
	roots, err := c.Roots()
	if err != nil {
		return nil, err
	}
	return cache.Closure(ctx, storedisk.Nix{StoreDir: c.HostStoreDir()}, roots...)
}

// Roots are the store paths that, with all they refer to, make the closure:
// Toplevel's and StorePaths. A ClosureInfo has none.
func (c *Config) Roots() ([]string, error) {
	if c.ClosureInfo != "" {
		return nil, nil
	}
	top, err := c.toplevel()
	if err != nil {
		return nil, err
	}
	var roots []string
	if top != "" {
		roots = append(roots, top)
	}
	return append(roots, c.StorePaths...), nil
}

// keepClosure gives the closure a root, so that Nix does not collect what a
// machine that is defined was made from. The root goes with the machine's state.
func (s *supervisor) keepClosure(ctx context.Context) error {
	roots, err := s.c.Roots()
	if err != nil || len(roots) == 0 {
		return err
	}
	return storedisk.Nix{StoreDir: s.c.HostStoreDir()}.AddRoots(ctx, s.place.GCRoots(), roots...)
}

// explainDisk gives an error about a closure that is not whole its hint.
func explainDisk(err error) error {
	if he := (*storedisk.HostError)(nil); errors.As(err, &he) || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &HostError{
		Op: "make the store disk", Err: err,
		Hint: "build again what is missing, or correct what the definition names",
	}
}

// StoreDiskOptions are the options of the store disk that the definition asks
// for.
func (c *Config) StoreDiskOptions() storedisk.Options {
	return storedisk.Options{
		Type:          storedisk.Type(c.StoreDiskFormat()),
		Compression:   c.StoreDiskCompression,
		ErofsFlags:    c.StoreDiskErofsFlags,
		SquashfsFlags: c.StoreDiskSquashfsFlags,
		Registration:  c.RegisterClosure,
	}
}

// QEMUBinary is the QEMU that the definition names: a program, or one in a
// package's bin. Empty means the usual one.
func (c *Config) QEMUBinary() string {
	pkg := c.Path(c.QEMU.Package)
	if pkg == "" {
		return ""
	}
	if fi, err := os.Stat(pkg); err == nil && fi.IsDir() {
		name := "qemu-system-x86_64"
		if c.MachineType("") == "virt" {
			name = "qemu-system-aarch64"
		}
		return filepath.Join(pkg, "bin", name)
	}
	return pkg
}
