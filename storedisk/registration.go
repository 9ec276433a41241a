package storedisk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
)

// A Registration is where to learn what a Nix database has to know of a
// closure's paths: their hashes, sizes and references. The zero value knows
// nothing.
type Registration struct {
	file string // closureInfo's registration, or
	nix  *Nix   // the database of the host
}

// Known reports whether there is anything to learn.
func (r Registration) Known() bool { return r.file != "" || r.nix != nil }

// WriteRegistration writes the closure's paths to w in the form that
// "nix-store --load-db" reads, in the closure's order. References to paths
// that are not in the closure are left out, as the guest cannot have them.
func (c *Closure) WriteRegistration(ctx context.Context, w io.Writer) error {
	var in []byte
	var err error
	switch r := c.Registration; {
	case r.file != "":
		in, err = os.ReadFile(r.file)
	case r.nix != nil:
		in, err = r.nix.dump(ctx, c)
	default:
		return errors.New("registration: a plain list of paths has none: give roots that Nix knows, or a closureInfo directory")
	}
	if err != nil {
		return err
	}
	known, err := parseRegistration(bytes.NewReader(in))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for _, name := range c.Names {
		p, ok := known[name]
		if !ok {
			return fmt.Errorf("registration: nothing is known of %s", c.Path(name))
		}
		refs := slices.DeleteFunc(p.refs, func(ref string) bool {
			_, found := slices.BinarySearch(c.Names, path.Base(ref))
			return !found
		})
		fmt.Fprintf(out, "%s\n%s\n%s\n%s\n%d\n", p.path, p.hash, p.size, p.deriver, len(refs))
		for _, ref := range refs {
			fmt.Fprintln(out, ref)
		}
	}
	return out.Flush()
}

// A pathInfo is one entry of a registration.
type pathInfo struct {
	path, hash, size, deriver string
	refs                      []string
}

// parseRegistration reads the form of "nix-store --dump-db": for each path the
// lines path, hash, size, deriver (may be empty), number of references, and
// the references.
func parseRegistration(r io.Reader) (map[string]pathInfo, error) {
	known := make(map[string]pathInfo)
	s := bufio.NewScanner(r)
	line := 0
	next := func() (string, error) {
		line++
		if s.Scan() {
			return s.Text(), nil
		}
		return "", fmt.Errorf("registration: line %d: %w", line, errors.Join(io.ErrUnexpectedEOF, s.Err()))
	}
	for s.Scan() {
		line++
		p := pathInfo{path: s.Text()}
		var count string
		for _, field := range []*string{&p.hash, &p.size, &p.deriver, &count} {
			var err error
			if *field, err = next(); err != nil {
				return nil, err
			}
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("registration: line %d: %q is not a number of references", line, count)
		}
		for range n {
			ref, err := next()
			if err != nil {
				return nil, err
			}
			p.refs = append(p.refs, ref)
		}
		known[path.Base(p.path)] = p
	}
	return known, s.Err()
}

// registration returns the file that describes the closure, and writes it if it
// is not there yet.
func (j *job) registration(ctx context.Context) (string, error) {
	file := j.path + registrationSuffix
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	lock, err := lockFile(ctx, hidden(j.path, lockSuffix), func(int) {})
	if err != nil {
		return "", err
	}
	defer lock.unlock()
	tmp := hidden(file, tempSuffix)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", err
	}
	err = errors.Join(j.closure.WriteRegistration(ctx, f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		os.Remove(tmp)
		return "", err
	}
	return file, nil
}
