package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Spec is an image to be there.
type Spec struct {
	Path   string // absolute
	MiB    int    // size of the image
	FSType string // "ext2", "ext3", "ext4", "xfs", "btrfs" or "vfat"
	Label  string // of the file system; empty for none
	Args   []string

	// ReadOnly leaves an image that is there at the size that it has.
	ReadOnly bool
}

// An Outcome is what [Ensure] did.
type Outcome int

// The outcomes.
const (
	Found Outcome = iota // the image was there, and has its size
	Grown                // it was there and smaller; its file system is for the guest to grow
	Made                 // it was not there
)

// A HostError is something that this host lacks for making an image, or has in
// the wrong shape.
type HostError struct {
	Op   string
	Err  error
	Hint string
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// Ensure makes the image unless something is at its path already. A file that is
// there and smaller than it should be grows; one that is larger is an error, and
// so is an empty one. Anything but a file, such as a block device, has the size
// that it has.
func Ensure(ctx context.Context, s Spec) (Outcome, error) {
	fi, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(ctx, s)
	case err != nil:
		return Found, fmt.Errorf("volume: %w", err)
	case s.ReadOnly || !fi.Mode().IsRegular():
		return Found, nil
	}
	return fit(s, fi.Size())
}

// fit brings an image of so many bytes to its size.
func fit(s Spec, size int64) (Outcome, error) {
	want := int64(s.MiB) << 20
	switch {
	case size == want:
		return Found, nil
	case size == 0:
		return Found, &HostError{Op: "volume " + s.Path, Err: errors.New("the image is empty"), Hint: "remove it, and it is made anew"}
	case size > want:
		has := (size + 1<<20 - 1) >> 20
		return Found, &HostError{
			Op: "volume " + s.Path, Err: fmt.Errorf("the image has %d MiB, and is to have %d", has, s.MiB),
			Hint: fmt.Sprintf("set size = %d: an image is never made smaller, since the file system in it would lose its end", has),
		}
	}
	op := "grow volume " + s.Path
	f, err := os.OpenFile(s.Path, os.O_WRONLY, 0)
	if err != nil {
		return Found, fmt.Errorf("%s: %w", op, cause(err))
	}
	defer f.Close()
	if err := f.Truncate(want); err != nil {
		return Found, fmt.Errorf("%s: %w", op, cause(err))
	}
	if err := f.Sync(); err != nil {
		return Found, fmt.Errorf("%s: %w", op, cause(err))
	}
	return Grown, nil
}

// create makes the image. Somebody else's that appears meanwhile stays.
func create(ctx context.Context, s Spec) (Outcome, error) {
	op := "make volume " + s.Path
	run, err := format(s)
	if err != nil {
		return Found, err
	}
	dir := filepath.Dir(s.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Found, fmt.Errorf("%s: %w", op, err)
	}
	b, err := newBlank(s.Path)
	if err != nil {
		return Found, fmt.Errorf("%s: %w", op, err)
	}
	defer b.close()
	noCoW(b.f)
	if err := b.f.Truncate(int64(s.MiB) << 20); err != nil {
		return Found, fmt.Errorf("%s: %w", op, cause(err))
	}
	if err := run(ctx, b.f); err != nil {
		return Found, err
	}
	if err := b.f.Sync(); err != nil {
		return Found, fmt.Errorf("%s: %w", op, cause(err))
	}
	switch err := b.publish(s.Path); {
	case errors.Is(err, fs.ErrExist):
		return Found, nil
	case err != nil:
		return Found, fmt.Errorf("%s: %w", op, err)
	}
	return Made, syncDir(dir)
}

// Exists checks that an image that mvm is not to make is there.
func Exists(path string) error {
	if _, err := os.Stat(path); err != nil {
		return &HostError{Op: "volume " + path, Err: cause(err), Hint: "make the image, or let mvm make it with autoCreate = true"}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// cause strips the path from an error whose path is said already.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
