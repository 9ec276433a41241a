package erofs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// A Path is one store path: an entry of the image's root directory.
type Path struct {
	// Name is the entry's name, at most 255 bytes, without a slash.
	Name string

	// Source is the directory, regular file or symbolic link on the host
	// that is stored under Name. A symbolic link is stored as one.
	Source string
}

// A Layout says where segments go in the image.
type Layout int

const (
	// Sparse puts each segment at an address made from its name, in a file
	// of 1 TiB that is nearly all holes. It is what [Update] is for.
	Sparse Layout = iota

	// Packed puts segments one behind the other, by name.
	Packed
)

// Options are the choices a caller has. The zero value is a sparse image
// without a label.
type Options struct {
	// Label is the volume's name, at most 15 bytes: the kernel wants a NUL
	// in the field of 16. Empty means none.
	Label string

	// UUID is the volume's identity. Deriving it from the closure is up to
	// the caller.
	UUID [16]byte

	Layout Layout

	// Jobs is how many files are read at once. Zero means a number that
	// suits both a warm and a cold page cache.
	Jobs int

	// Progress, if not nil, is told how many bytes of segments have been
	// written and how many there are in all. It is called by one goroutine
	// at a time, and holds the writers up until it returns.
	Progress func(done, total int64)

	space uint32 // blocks of a sparse image, so that tests can crowd it; 0 means sparseSpace
}

// Errors that callers act on. All others are final: the source is not as it
// should be, or the image could not be written.
var (
	// ErrNotSparse says that the file system of the image cannot hold a
	// sparse image: no holes, or no file that large. Packed works there.
	ErrNotSparse = errors.New("file system cannot hold a sparse image")

	// ErrNoSpace says that the segments do not fit in the address space.
	ErrNoSpace = errors.New("segments do not fit in the image's address space")

	// ErrIndex says that an index is damaged, of another version or boot,
	// or does not belong to the image. Building anew is the way on.
	ErrIndex = errors.New("index does not fit")

	// ErrInUse says that a process, such as QEMU, has the image open.
	ErrInUse = errors.New("image is in use")
)

// Build writes an image of paths to f, which must be empty and open for
// reading and writing. The order of paths does not matter.
//
// Build does not sync f. After an error, what f holds is of no use.
func Build(ctx context.Context, f *os.File, paths []Path, o Options) (*Index, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	paths, err := sortPaths(paths)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if fi.Size() != 0 {
		return nil, fmt.Errorf("%s is not empty", f.Name())
	}

	segs := make([]*segment, len(paths))
	for i, p := range paths {
		segs[i] = &segment{Path: p}
	}
	if err := scanAll(ctx, segs, o.jobs()); err != nil {
		return nil, err
	}
	plan, err := place(segs, o)
	if err != nil {
		return nil, err
	}
	if err := allocate(f, plan, o.Layout); err != nil {
		return nil, err
	}
	if err := writeSegments(ctx, f, segs, o); err != nil {
		return nil, err
	}
	head := plan.head(segs, o)
	if err := writeHead(f, head); err != nil {
		return nil, err
	}
	return newIndex(segs, plan, o, head), nil
}

func (o *Options) check() error {
	if o.Layout != Sparse && o.Layout != Packed {
		return fmt.Errorf("unknown layout %d", o.Layout)
	}
	return checkLabel(o.Label)
}

// jobs is how many files to read at once. From a cold cache, 8 to 16 readers
// took 0.6 of the time of 2 (1 GB, one virtual disk, two CPUs). From a warm one
// the number hardly matters: only GOMAXPROCS of them run, and a reader that
// waits costs its buffers, 1.3 MB.
func (o *Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return max(16, runtime.GOMAXPROCS(0))
}
