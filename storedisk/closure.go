package storedisk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// GuestStore is where every guest has its store, and the default of the
// directory in which a host keeps one.
const GuestStore = "/nix/store"

// A Closure is a set of store paths that is closed under references. Closures
// come from [ReadList], [ReadClosureInfo] and [Nix.Closure], which check its
// form; whether the paths exist is looked at when it is built.
type Closure struct {
	// StoreDir is the directory that holds the paths: absolute and clean.
	// It is /nix/store unless the store is a foreign one.
	StoreDir string

	// Names are the last elements of the paths, sorted, each once.
	Names []string

	// Registration describes the paths for the guest's Nix database. The
	// zero value can describe nothing.
	Registration Registration
}

// New returns the closure of exactly these paths, each of which lies in
// storeDir or is spelt as if it lay in [GuestStore]. An empty storeDir means
// GuestStore. All mistakes are reported at once: a name that is not a store
// path's, a path listed twice, a path inside another, no path at all.
func New(storeDir string, paths []string) (*Closure, error) {
	storeDir, err := cleanStore(storeDir)
	if err != nil {
		return nil, err
	}
	c := &Closure{StoreDir: storeDir}
	var wrong *multierror.Error
	seen := make(map[string]bool, len(paths))
	for _, p := range paths {
		base, err := baseOf(p, storeDir)
		switch {
		case err != nil:
			wrong = multierror.Append(wrong, err)
		case seen[base]:
			wrong = multierror.Append(wrong, fmt.Errorf("%s is listed twice", p))
		default:
			seen[base] = true
			c.Names = append(c.Names, base)
		}
	}
	if len(paths) == 0 {
		wrong = multierror.Append(wrong, errNoPaths)
	}
	slices.Sort(c.Names)
	return c, all("closure", wrong)
}

func cleanStore(dir string) (string, error) {
	if dir == "" {
		return GuestStore, nil
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("store directory %q is not an absolute path", dir)
	}
	return filepath.Clean(dir), nil
}

// ReadList returns the closure that r lists, one path to a line. Empty lines
// are passed over.
func ReadList(r io.Reader, storeDir string) (*Closure, error) {
	var paths []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		if p := strings.TrimSpace(s.Text()); p != "" {
			paths = append(paths, p)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read list of paths: %w", err)
	}
	return New(storeDir, paths)
}

// ReadClosureInfo returns the closure that nixpkgs' closureInfo wrote into dir:
// the file store-paths, and registration if it is there.
func ReadClosureInfo(dir, storeDir string) (*Closure, error) {
	f, err := os.Open(filepath.Join(dir, "store-paths"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &HostError{
				Op: "read closure info " + dir, Err: errors.New("no file store-paths in it"),
				Hint: "name the output of nixpkgs' closureInfo { rootPaths = [ … ]; }",
			}
		}
		return nil, err
	}
	defer f.Close()
	c, err := ReadList(f, storeDir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	reg := filepath.Join(dir, "registration")
	if _, err := os.Stat(reg); err == nil {
		c.Registration = Registration{file: reg}
	}
	return c, nil
}

// Path returns the host's path of one of the closure's names.
func (c *Closure) Path(name string) string { return c.StoreDir + "/" + name }

// With returns the closure with more paths in it. A path that it already has
// changes nothing. Paths that the added ones refer to are not added.
func (c *Closure) With(paths ...string) (*Closure, error) {
	d := *c
	d.Names = slices.Clone(c.Names)
	var wrong *multierror.Error
	for _, p := range paths {
		base, err := baseOf(p, c.StoreDir)
		if err != nil {
			wrong = multierror.Append(wrong, err)
			continue
		}
		d.Names = append(d.Names, base)
	}
	slices.Sort(d.Names)
	d.Names = slices.Compact(d.Names)
	return &d, all("extra paths", wrong)
}

// Without returns the closure with fewer paths in it. A path that it does not
// have is a mistake, most likely of spelling.
func (c *Closure) Without(paths ...string) (*Closure, error) {
	d := *c
	d.Names = slices.Clone(c.Names)
	var wrong *multierror.Error
	for _, p := range paths {
		base, err := baseOf(p, c.StoreDir)
		if err != nil {
			wrong = multierror.Append(wrong, err)
			continue
		}
		i, found := slices.BinarySearch(c.Names, base)
		if !found {
			wrong = multierror.Append(wrong, fmt.Errorf("%s is not in the closure", p))
			continue
		}
		d.Names = slices.DeleteFunc(d.Names, func(n string) bool { return n == c.Names[i] })
	}
	if wrong == nil && len(d.Names) == 0 {
		wrong = multierror.Append(wrong, errNoPaths)
	}
	return &d, all("excluded paths", wrong)
}
