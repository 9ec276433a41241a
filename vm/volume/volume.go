package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Spec is an image to be there.
type Spec struct {
	Path   string // absolute
	Format Format // empty means Raw

	// Create makes an image that is not there, of the size and with the file
	// system that follow, and grows one that is smaller. Without it an image
	// is what it is.
	Create bool
	MiB    int    // size of the disk in the image
	FSType string // "ext2", "ext3", "ext4", "xfs", "btrfs" or "vfat"
	Label  string // of the file system; empty for none
	Args   []string

	// Owner gets what is made. The zero value leaves it to who makes it.
	Owner Owner

	// ReadOnly leaves an image that is there at the size that it has, and
	// shares it with others who only read it.
	ReadOnly bool

	// QEMUImg is the program for formats other than Raw. Empty means the one
	// in PATH.
	QEMUImg string
}

// An Owner is whom an image belongs to.
type Owner struct{ UID, GID int }

// An Outcome is what [Open] did.
type Outcome int

// The outcomes.
const (
	Found Outcome = iota // the image was there, and has its size
	Grown                // it was there and smaller; its file system is for the guest to grow
	Made                 // it was not there
)

// A Volume is an image that nobody else may use in a way that is in its way: see
// [Open]. The kernel gives it free with the process.
type Volume struct {
	Outcome Outcome

	f *os.File
}

// File returns a descriptor of the image for a program that inherits it, which
// then shares in the lock. The caller closes it.
func (v *Volume) File() (*os.File, error) {
	fd, err := unix.FcntlInt(v.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), v.f.Name()), nil
}

// Close lets others have the image.
func (v *Volume) Close() error { return v.f.Close() }

// A HostError is something that this host lacks for making an image, or has in
// the wrong shape.
type HostError struct {
	Op   string
	Err  error
	Hint string
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// Open makes the image unless something is at its path already, locks it, checks
// that it is what it should be, and lets it grow to its size. Nothing makes it
// smaller. A block device has the size that it has.
//
// A [*LockedError] says that somebody else uses it.
func Open(ctx context.Context, s Spec) (*Volume, error) {
	made := false
	fi, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.Create:
		if made, err = create(ctx, s); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &HostError{Op: s.op(), Err: cause(err), Hint: "make the image, or let mvm make it with autoCreate = true"}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.op(), cause(err))
	case !fi.Mode().IsRegular() && !isBlockDevice(fi):
		// Opening a pipe could wait for ever.
		return nil, &HostError{Op: s.op(), Err: errors.New("it is neither a file nor a block device"), Hint: "name another image"}
	}
	v, err := open(s)
	if err != nil {
		return nil, err
	}
	if made {
		v.Outcome = Made
	} else if err := v.fit(ctx, s); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

func (s *Spec) op() string { return "volume " + s.Path }

func isBlockDevice(fi fs.FileInfo) bool {
	return fi.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice
}

// fit checks an image that was there, and brings it to its size.
func (v *Volume) fit(ctx context.Context, s Spec) error {
	has, err := s.Format.inspect(ctx, s, v.f)
	if err != nil {
		return err
	}
	fi, err := v.f.Stat()
	if err != nil {
		return err
	}
	want := int64(s.MiB) << 20
	switch {
	case !s.Create || s.ReadOnly || isBlockDevice(fi) || has == want:
		return nil
	case has > want:
		mib := (has + 1<<20 - 1) >> 20
		return &HostError{
			Op: s.op(), Err: fmt.Errorf("the image has %d MiB, and is to have %d", mib, s.MiB),
			Hint: fmt.Sprintf("set size = %d: an image is never made smaller, since the file system in it would lose its end", mib),
		}
	}
	if err := s.Format.grow(ctx, s, v.f, want); err != nil {
		return err
	}
	v.Outcome = Grown
	return nil
}

// create makes the image, and reports whether it did: somebody else's that
// appears meanwhile stays.
func create(ctx context.Context, s Spec) (made bool, err error) {
	op := "make " + s.op()
	run, err := format(s)
	if err != nil {
		return false, err
	}
	convert, err := s.Format.converter(s)
	if err != nil {
		return false, err
	}
	dir := filepath.Dir(s.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	b, err := newBlank(s.Path)
	if err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	defer b.close()
	noCoW(b.f)
	if err := b.f.Truncate(int64(s.MiB) << 20); err != nil {
		return false, fmt.Errorf("%s: %w", op, cause(err))
	}
	if err := run(ctx, b.f); err != nil {
		return false, err
	}
	if convert != nil {
		// Beside the raw one, and not in its stead: qemu-img reads the one
		// while it writes the other.
		raw := b
		if b, err = newBlank(s.Path); err != nil {
			return false, fmt.Errorf("%s: %w", op, err)
		}
		defer b.close()
		noCoW(b.f)
		if err := convert(ctx, raw.f, b.f); err != nil {
			return false, err
		}
	}
	if s.Owner != (Owner{}) {
		if err := b.f.Chown(s.Owner.UID, s.Owner.GID); err != nil {
			return false, fmt.Errorf("%s: give it to user %d: %w", op, s.Owner.UID, cause(err))
		}
	}
	if err := b.f.Sync(); err != nil {
		return false, fmt.Errorf("%s: %w", op, cause(err))
	}
	switch err := b.publish(s.Path); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s: %w", op, err)
	}
	return true, syncDir(dir)
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
