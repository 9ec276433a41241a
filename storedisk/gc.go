package storedisk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// GCOptions say what may go. The zero value lets everything go that nobody
// wants and nobody uses.
type GCOptions struct {
	// MaxSize is how many bytes all images may take together. As long as
	// they take more, those that nobody wants go, the least recently used
	// first. It may be exceeded by what is wanted or in use.
	MaxSize int64

	// Gone reports whether a name given in [Options.For] is nobody's any
	// more, so that it keeps nothing. Nil means that all are somebody's.
	Gone func(who string) bool

	// Keep reports whether an image is to stay for another reason. Nil means
	// that there is none.
	Keep func(Info) bool

	// DryRun means to change nothing.
	DryRun bool
}

// A GCReport says what a collection did, or would have done.
type GCReport struct {
	Removed []Info `json:"removed"`
	Freed   int64  `json:"freed"` // bytes
	Left    int64  `json:"left"`  // bytes that all remaining images take
}

// GC removes images that are neither wanted nor in use, what interrupted
// builders left, and images that no Build would return.
func (c *Cache) GC(ctx context.Context, o GCOptions) (*GCReport, error) {
	if !o.DryRun {
		c.sweep()
		c.forgetGone(o.Gone)
		c.dropClosures()
	}
	all, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	r := &GCReport{Removed: []Info{}}
	for _, info := range all {
		r.Left += info.Size
	}
	for _, info := range slices.Backward(all) {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		if info.InUse || !info.Unfinished && (r.Left <= o.MaxSize || o.keeps(info)) {
			continue
		}
		if !o.DryRun {
			err := c.remove(info.Path)
			if errors.Is(err, errLocked) || errors.Is(err, fs.ErrPermission) {
				continue // just taken into use; or another user's to remove
			}
			if err != nil {
				return r, err
			}
			c.log().Info("removed store disk", "file", info.Path, "size", info.Size)
		}
		r.Removed = append(r.Removed, info)
		r.Freed += info.Size
		r.Left -= info.Size
	}
	return r, nil
}

// keeps reports whether an image is wanted.
func (o *GCOptions) keeps(info Info) bool {
	wanted := slices.ContainsFunc(info.For, func(who string) bool { return o.Gone == nil || !o.Gone(who) })
	return wanted || o.Keep != nil && o.Keep(info)
}

// forgetGone removes the names of those who are gone.
func (c *Cache) forgetGone(gone func(who string) bool) {
	wanted, err := c.refs()
	if gone == nil || err != nil {
		return
	}
	for _, names := range wanted {
		for _, who := range names {
			if gone(who) {
				c.Forget(who) // what cannot be removed keeps an image, no more
			}
		}
	}
}

// Remove removes one image, whoever wants it, unless it is in use.
func (c *Cache) Remove(path string) error {
	if !isImage(filepath.Base(path)) || filepath.Clean(filepath.Dir(path)) != filepath.Clean(c.Dir) {
		return &fs.PathError{Op: "remove", Path: path, Err: errors.New("it is not an image of the cache")}
	}
	err := c.remove(path)
	if errors.Is(err, errLocked) {
		err = &fs.PathError{Op: "remove", Path: path, Err: errors.New("it is in use")}
	}
	return err
}

// remove removes an image, or returns errLocked if it is in use or being made.
// The record goes first: without it, the rest is not an image.
func (c *Cache) remove(path string) error {
	lock, err := tryLock(hidden(path, lockSuffix))
	if err != nil {
		return err
	}
	defer lock.unlock()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := seize(f); err != nil {
		return err
	}
	for _, suffix := range []string{recordSuffix, indexSuffix, registrationSuffix, ""} {
		if err := removeIfThere(path + suffix); err != nil {
			return err
		}
	}
	return nil
}
