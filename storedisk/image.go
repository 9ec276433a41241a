package storedisk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An Image is a finished image, and a lease on its file: until Close it is
// neither edited nor collected.
type Image struct {
	Path   string // the file
	Type   Type
	Label  string // empty for squashfs
	UUID   string // in the usual form; empty for squashfs
	Digest string // of paths and options: the file's name

	// Size is what the file takes up, in bytes, and Apparent how long it is:
	// for a sparse erofs image a tebibyte, nearly all of it holes.
	Size, Apparent int64

	// Origin says where the image came from.
	Origin Origin

	// Took is how long Build took.
	Took time.Duration

	// Registration is a file that describes the closure's paths to the
	// guest's Nix, in the form of "nix-store --load-db". It is empty unless
	// [Options.Registration] asked for it.
	Registration string

	file *os.File
}

// An Origin is a way in which [Cache.Build] came by an image.
type Origin string

// The origins.
const (
	Found   Origin = "found"   // it was in the cache
	Built   Origin = "built"   // all of it was written
	Updated Origin = "updated" // what differs was written into an earlier image
)

// File returns the open file of the image, for reading. It belongs to the
// Image; a child process that inherits it keeps the lease.
func (i *Image) File() *os.File { return i.file }

// Close ends the lease. The image stays in the cache.
func (i *Image) Close() error { return i.file.Close() }

// find returns the image of j if the cache has it whole and up to date, or
// else nil.
func (c *Cache) find(j *job) (*Image, error) {
	if err := trusted(c.Dir); err != nil {
		return nil, err
	}
	f, r, err := lease(j.path)
	if err != nil || f == nil {
		return nil, err
	}
	if r.Stamp != j.stamp {
		c.log().Info("the sources of a store disk have changed", "digest", r.Digest, "store", j.closure.StoreDir)
		return nil, f.Close()
	}
	j.unmarked = j.opts.For == "" && !r.Unnamed
	return newImage(f, j.path, r, Found)
}

// lease opens the image at path, sees to it that it stays as it is until the
// file is closed, and returns it with its record. All are nil if there is no
// image, or none that can be used.
func lease(path string) (*os.File, *record, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := leased(f, path)
	if r == nil {
		f.Close()
		return nil, nil, err
	}
	return f, r, nil
}

func leased(f *os.File, path string) (*record, error) {
	err := share(f)
	if errors.Is(err, errLocked) {
		return nil, nil // it is being made into another one, or removed
	}
	if err != nil || !sameFile(f, path) {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := readRecord(path)
	if err != nil || !r.fits(fi) {
		return nil, nil //nolint:nilerr // an image without a record that fits is none, and made anew
	}
	return r, nil
}

// trusted refuses a cache directory that anybody may write to: a guest runs as
// root what is in it. Who else may, the owner of the directory has decided.
func trusted(dir string) error {
	fi, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && fi.Mode()&0o002 != 0 {
		err = &HostError{
			Op: "use cache " + dir, Err: fmt.Errorf("its mode %v lets everybody write to it", fi.Mode().Perm()),
			Hint: "run chmod o-w " + dir + " after a look at what is in it",
		}
	}
	return err
}

func newImage(f *os.File, path string, r *record, o Origin) (*Image, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	img := &Image{
		Path: path, Type: r.Type, Digest: r.Digest, UUID: r.UUID,
		Size: st.Blocks * 512, Apparent: st.Size, Origin: o, file: f,
	}
	if r.Type.HasLabel() {
		img.Label = Label
	}
	return img, nil
}
