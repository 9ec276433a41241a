package storedisk

import (
	"cmp"
	"context"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A SizeReport says how much there is to put on a disk.
type SizeReport struct {
	Bytes int64      `json:"bytes"` // content of files and links, without any rounding
	Files int64      `json:"files"` // files, directories and links
	Paths []PathSize `json:"paths"` // largest first
}

// A PathSize is one store path's share of a [SizeReport].
type PathSize struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	Files int64  `json:"files"`
}

// Size measures every path of the closure. It reads directories, not files.
func Size(ctx context.Context, c *Closure) (*SizeReport, error) {
	if err := c.Check(ctx); err != nil {
		return nil, err
	}
	r := &SizeReport{Paths: make([]PathSize, len(c.Names))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8) // cold directories wait for the disk, so more than there are CPUs
	for i, name := range c.Names {
		g.Go(func() error {
			r.Paths[i].Path = c.Path(name)
			return r.Paths[i].measure(ctx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, p := range r.Paths {
		r.Bytes += p.Bytes
		r.Files += p.Files
	}
	slices.SortFunc(r.Paths, func(a, b PathSize) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Path, b.Path))
	})
	return r, nil
}

func (p *PathSize) measure(ctx context.Context) error {
	return filepath.WalkDir(p.Path, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		p.Files++
		if d.IsDir() {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: path, Err: err}
		}
		p.Bytes += st.Size
		return nil
	})
}
