package storedisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Nix is the host's Nix. The zero value runs the nix-store that is found on
// the host, with the store at /nix/store.
type Nix struct {
	// Bin is the nix-store command. Empty means "nix-store", found as any
	// command.
	Bin string

	// StoreDir is the directory that holds the store paths. Empty means
	// [GuestStore]. Any other must end in /nix/store: what precedes it is
	// the root that Nix is told to work under.
	StoreDir string
}

// Closure returns the roots and everything they refer to. [Cache.Closure] does
// the same and remembers the answer.
func (n Nix) Closure(ctx context.Context, roots ...string) (*Closure, error) {
	r, err := New(n.StoreDir, roots)
	if err != nil {
		return nil, err
	}
	if err := r.Check(ctx); err != nil {
		return nil, err
	}
	out, err := n.run(ctx, append([]string{"--query", "--requisites"}, r.guestPaths()...)...)
	if err != nil {
		return nil, err
	}
	c, err := ReadList(bytes.NewReader(out), n.StoreDir)
	if err != nil {
		return nil, err
	}
	c.Registration = Registration{nix: &n}
	return c, nil
}

// AddRoots keeps Nix from collecting the paths and all they refer to, until dir
// is given other paths, or to [RemoveRoots], or is deleted: it makes a link to
// each path in dir, tells Nix of the links, and then removes links to any
// other path. Links that are there already cost nothing. Without Nix on the
// host nothing can be collected, and AddRoots does nothing.
func (n Nix) AddRoots(ctx context.Context, dir string, paths ...string) error {
	r, err := New(n.StoreDir, paths)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i, name := range r.Names {
		if strings.HasSuffix(name, ".drv") {
			return fmt.Errorf("keep %s: Nix would build it; name what it builds", r.Path(name))
		}
		link := filepath.Join(dir, name)
		if target, err := os.Readlink(link); err == nil && filepath.Base(target) == name {
			continue
		}
		_, err := n.run(ctx, "--realise", "--add-root", link, "--indirect", r.guestPaths()[i])
		if errors.Is(err, exec.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return removeLinks(dir, r.Names)
}

// RemoveRoots lets Nix collect what AddRoots kept. It removes the links in dir
// and then dir; a dir that is not there is no error.
func RemoveRoots(dir string) error {
	if err := removeLinks(dir, nil); err != nil {
		return err
	}
	return removeIfThere(dir)
}

// removeLinks removes all links from dir but those to keep, which is sorted.
func removeLinks(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, kept := slices.BinarySearch(keep, e.Name()); kept || e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if err := removeIfThere(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// dump returns what Nix's database has on the closure's paths.
func (n Nix) dump(ctx context.Context, c *Closure) ([]byte, error) {
	return n.run(ctx, append([]string{"--dump-db"}, c.guestPaths()...)...)
}

// run runs nix-store and returns its output.
func (n Nix) run(ctx context.Context, args ...string) ([]byte, error) {
	bin := n.Bin
	if bin == "" {
		bin = "nix-store"
	}
	op := bin + " " + args[0]
	file, err := exec.LookPath(bin)
	if err != nil {
		return nil, &HostError{
			Op: op, Err: errors.Join(exec.ErrNotFound),
			Hint: "install Nix (apt install nix-bin), or give the closure as a closureInfo directory or a list of paths",
		}
	}
	if dir := n.StoreDir; dir != "" && filepath.Clean(dir) != GuestStore {
		root, ok := strings.CutSuffix(filepath.Clean(dir), GuestStore)
		if !ok {
			return nil, &HostError{
				Op: op, Err: fmt.Errorf("store %s does not end in %s", dir, GuestStore),
				Hint: "give the closure as a closureInfo directory or a list of paths",
			}
		}
		args = append([]string{"--store", root}, args...)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &HostError{
			Op: op, Err: fmt.Errorf("%w%s", err, said(stderr.String())),
			Hint: "make sure that this user may use Nix and that the paths are valid, or give the closure as a closureInfo directory",
		}
	}
	return stdout.Bytes(), nil
}

// guestPaths returns the closure's paths as Nix writes them, wherever the
// host keeps them.
func (c *Closure) guestPaths() []string {
	paths := make([]string, len(c.Names))
	for i, name := range c.Names {
		paths[i] = GuestStore + "/" + name
	}
	return paths
}
