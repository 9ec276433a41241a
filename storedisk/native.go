package storedisk

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/storedisk/erofs"
)

// makeErofs makes an uncompressed erofs image, out of an earlier one if there is
// one to be had.
func (j *job) makeErofs(ctx context.Context) (product, error) {
	if j.updatable() {
		made, err := j.updateErofs(ctx)
		if err == nil {
			return made, nil
		}
		if ctx.Err() != nil {
			return made, context.Cause(ctx)
		}
		// Whatever was wrong with the earlier image, it is not needed. If it
		// was not the image, the same will be reported again.
		if !errors.Is(err, errNoEarlier) {
			j.cache.log().Info("making the store disk anew: the earlier one is of no use", "reason", err)
		}
		if err := os.RemoveAll(j.temp); err != nil {
			return product{}, err
		}
	}
	layout := erofs.Sparse
	if j.packed {
		layout = erofs.Packed
	}
	made, err := j.buildErofs(ctx, layout)
	if layout == erofs.Sparse && (errors.Is(err, erofs.ErrNotSparse) || errors.Is(err, erofs.ErrNoSpace)) {
		j.cache.log().Info("the store disk is packed, and every change writes all of it", "reason", err)
		made, err = j.buildErofs(ctx, erofs.Packed)
	}
	return made, err
}

// buildErofs writes the whole image.
func (j *job) buildErofs(ctx context.Context, layout erofs.Layout) (product, error) {
	made := product{origin: Built, packed: layout == erofs.Packed}
	f, err := os.OpenFile(j.temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return made, err
	}
	index, err := erofs.Build(ctx, f, j.sources(), j.erofsOptions(layout, "writing"))
	if err == nil {
		made.index, err = index.MarshalBinary()
	}
	return made, errors.Join(err, f.Close())
}

// sources are the closure's paths as the writer wants them.
func (j *job) sources() []erofs.Path {
	paths := make([]erofs.Path, len(j.closure.Names))
	for i, name := range j.closure.Names {
		paths[i] = erofs.Path{Name: name, Source: j.closure.Path(name)}
	}
	return paths
}

func (j *job) erofsOptions(layout erofs.Layout, stage string) erofs.Options {
	return erofs.Options{
		Label: Label, UUID: j.key.uuid(), Layout: layout, Jobs: j.opts.Jobs,
		Progress: func(done, total int64) { j.progress(stage, done, total) },
	}
}

// updatable reports whether the image may be made out of another: not outside
// a cache, and not when a path may have changed behind the name and the
// inode that the writer goes by.
func (j *job) updatable() bool { return !j.packed && j.stamp == "" }

// errNoEarlier says that there is no image to begin with. It is the usual case
// of a first build.
var errNoEarlier = errors.New("there is none")

// updateErofs makes the image out of the one that [Options.For] had last: out
// of that file itself if nobody else can want it, or out of a clone of it.
func (j *job) updateErofs(ctx context.Context) (product, error) {
	made := product{origin: Updated}
	f, encoded, err := j.earlier()
	if err != nil {
		return made, err
	}
	defer f.Close()
	index := new(erofs.Index)
	if err := index.UnmarshalBinary(encoded); err != nil {
		return made, err
	}
	index, stats, err := erofs.Update(ctx, f, index, j.sources(), j.erofsOptions(erofs.Sparse, "updating"))
	if err != nil {
		return made, err
	}
	j.cache.log().Debug("updated store disk", "kept", stats.Kept, "written", stats.Written,
		"moved", stats.Moved, "removed", stats.Removed, "bytes", stats.Bytes)
	made.index, err = index.MarshalBinary()
	return made, err
}

// earlier provides an image at j.temp to update, open for writing, and its
// index.
func (j *job) earlier() (*os.File, []byte, error) {
	file := j.cache.ref(j.opts.For)
	if !isImage(file) || filepath.Ext(file) != "."+string(Erofs) {
		return nil, nil, errNoEarlier
	}
	path := filepath.Join(j.cache.Dir, file)
	f, index, err := j.claim(path)
	if err != nil {
		j.cache.log().Debug("the earlier store disk stays as it is", "file", file, "reason", err)
		return j.clone(path)
	}
	return f, index, nil
}

// claim takes the image at path away from the cache, if j's own For is all that
// can want it. While it is being claimed its builder's lock is held, and from
// then on it has no name under which anybody could find it.
func (j *job) claim(path string) (_ *os.File, _ []byte, err error) {
	if path != j.path { // else it is this job's own lock
		lock, err := tryLock(hidden(path, lockSuffix))
		if err != nil {
			return nil, nil, err
		}
		defer lock.unlock()
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := seize(f); err != nil {
		return nil, nil, err
	}
	wanted, err := j.cache.refs()
	if err != nil {
		return nil, nil, err
	}
	if others := wanted[filepath.Base(path)]; slices.ContainsFunc(others, func(who string) bool { return who != j.opts.For }) {
		return nil, nil, errors.New("others want it")
	}
	if r, err := readRecord(path); err != nil || r.Unnamed {
		return nil, nil, cmp.Or(err, errors.New("somebody without a name may want it"))
	}
	index, err := earlierIndex(f, path)
	if err != nil {
		return nil, nil, err
	}
	for _, suffix := range []string{recordSuffix, indexSuffix, registrationSuffix} {
		if err := removeIfThere(path + suffix); err != nil {
			return nil, nil, err
		}
	}
	return f, index, os.Rename(path, j.temp)
}

// clone makes a copy of the image at path that shares its blocks, where the
// file system can do that. Where it cannot, a copy would cost more than what
// it saves.
func (j *job) clone(path string) (*os.File, []byte, error) {
	from, _, err := lease(path)
	if err != nil || from == nil {
		return nil, nil, cmp.Or(err, errNoEarlier)
	}
	defer from.Close()
	index, err := earlierIndex(from, path)
	if err != nil {
		return nil, nil, err
	}
	to, err := os.OpenFile(j.temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		to.Close()
		return nil, nil, &os.PathError{Op: "clone", Path: path, Err: err}
	}
	return to, index, nil
}

// earlierIndex returns the index of the open image, if it is one to update.
func earlierIndex(f *os.File, path string) ([]byte, error) {
	r, err := readRecord(path)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !r.fits(fi) || !sameFile(f, path) {
		return nil, cmp.Or(err, errors.New("it does not fit its record"))
	}
	if r.Stamp != "" || r.Packed {
		return nil, errors.New("it was made from other sources, or packed")
	}
	return os.ReadFile(path + indexSuffix)
}
