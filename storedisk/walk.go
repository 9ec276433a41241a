package storedisk

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// An entry is one file of a closure.
type entry struct {
	path   string // in the image, such as "/HASH-hello/bin"
	source string // on the host
	mode   fs.FileMode
	size   int64
	target string // of a link
}

// walk calls f for every file of the closure, a directory before what is in
// it and names in byte order.
func (j *job) walk(ctx context.Context, f func(entry) error) error {
	lists := make([][]entry, len(j.closure.Names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8) // cold directories wait for the disk, so more than there are CPUs
	for i, name := range j.closure.Names {
		g.Go(func() (err error) {
			lists[i], err = j.closure.list(ctx, name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, list := range lists {
		for _, e := range list {
			if err := f(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// list returns every file of one store path.
func (c *Closure) list(ctx context.Context, name string) ([]entry, error) {
	var list []entry
	err := filepath.WalkDir(c.Path(name), func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{path: p[len(c.StoreDir):], source: p, mode: fi.Mode(), size: fi.Size()}
		switch e.mode.Type() {
		case 0, fs.ModeDir:
		case fs.ModeSymlink:
			if e.target, err = os.Readlink(p); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file, a directory nor a link", p)
		}
		list = append(list, e)
		return nil
	})
	return list, err
}
