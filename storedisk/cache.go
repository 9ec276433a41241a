package storedisk

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A Cache is a directory of images. Any number of Caches, in any number of
// processes, may share one directory.
//
// Build and Create may be called from several goroutines at once; Progress is
// then called from all of them.
type Cache struct {
	// Dir is the directory. It is made, for its owner only, when an image
	// is to be put in it. Whoever may write in it decides what guests boot.
	Dir string

	// Log is told what is being done, not how far it is. Nil means nobody is.
	Log *slog.Logger

	// Progress is told how far it is. It is called often, by one goroutine
	// at a time for each call of Build, and should return soon. Nil means
	// nobody is told.
	Progress func(Progress)

	// Tool finds a command that makes or checks file systems. Nil means that
	// of the executables' search path, then /usr/sbin and /sbin.
	Tool func(name string) (string, error)
}

// Progress is how far a [Cache.Build] is.
type Progress struct {
	// Stage is what is being done: "waiting", "writing", "updating",
	// "compressing" and so on. It suits a line on a terminal.
	Stage string

	// Done and Total count bytes; Total is 0 while it is not known.
	Done, Total int64

	// Paths is how many store paths the closure has.
	Paths int

	// Owner is the process that is waited for in the stage "waiting". It
	// is 0 if that cannot be told.
	Owner int
}

// Suffixes of the files in a cache. For an image X.erofs there are X.erofs.json
// (the record) and perhaps X.erofs.index and X.erofs.registration; while it is
// made there are also .X.erofs.lock and .X.erofs.tmp.
const (
	recordSuffix       = ".json"
	indexSuffix        = ".index"
	registrationSuffix = ".registration"
	lockSuffix         = ".lock"
	tempSuffix         = ".tmp"
)

// hidden returns the name of a passing companion of path.
func hidden(path, suffix string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+suffix)
}

// Build returns the image of c that o describes, and makes it if the cache does
// not have it. Of several that want the same image at once, one makes it and
// the others wait. The caller closes the image when no guest uses it any more.
//
// The image is whole but not synced: a crash of the host may cost it, and the
// next Build notices. [Cache.Settle] makes it last.
func (c *Cache) Build(ctx context.Context, cl *Closure, o Options) (*Image, error) {
	start := time.Now()
	j, err := newJob(ctx, c, cl, o)
	if err != nil {
		return nil, err
	}
	j.path = filepath.Join(c.Dir, j.key.file())

	img, err := c.find(j)
	if err == nil && img == nil {
		img, err = c.build(ctx, j)
	}
	if err == nil {
		err = c.adopt(ctx, j, img)
	}
	if err != nil {
		if img != nil {
			img.Close()
		}
		return nil, j.explain(ctx, err)
	}
	img.Took = time.Since(start)
	return img, nil
}

// build makes the image of j, or waits until another process has.
func (c *Cache) build(ctx context.Context, j *job) (*Image, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := j.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if img, err := c.find(j); img != nil || err != nil {
		return img, err
	}
	c.sweep()
	return j.produce(ctx)
}

// adopt does what every Build owes its caller, whoever made the image.
func (c *Cache) adopt(ctx context.Context, j *job, img *Image) error {
	// Where the cache is read-only there is nothing to remember.
	now := time.Now()
	err := os.Chtimes(j.path+recordSuffix, now, now) // when it was last wanted
	if j.opts.For != "" && (err == nil || readOnly(err)) {
		err = c.setRef(j.opts.For, filepath.Base(j.path))
	}
	if j.unmarked && (err == nil || readOnly(err)) {
		err = c.amend(ctx, j.path, func(r *record) { r.Unnamed = true })
	}
	if err != nil && !readOnly(err) {
		return err
	}
	if j.opts.Registration {
		img.Registration, err = j.registration(ctx)
		return err
	}
	return nil
}

// readOnly reports whether err says that the caller may not write here.
func readOnly(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission)
}

func (c *Cache) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c *Cache) report(p Progress) {
	if c.Progress != nil {
		c.Progress(p)
	}
}
