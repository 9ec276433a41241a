package storedisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Create makes an image in a file of its own, as a mkfs for store paths would.
// The cache is neither read nor written. The file is complete and synced when
// it gets its name; a file that was there is replaced.
//
// An erofs image is packed: it has no holes, and other bytes than the image of
// the same closure in a cache.
func (c *Cache) Create(ctx context.Context, cl *Closure, o Options, path string) (*Image, error) {
	start := time.Now()
	j, err := newJob(ctx, c, cl, o)
	if err != nil {
		return nil, err
	}
	j.path, j.packed = path, true
	unlock, err := j.begin(ctx)
	if err != nil {
		return nil, j.explain(ctx, err)
	}
	defer unlock()
	img, err := j.create(ctx)
	if err != nil {
		os.Remove(j.temp) // now: what is free is about to be looked at
		return nil, j.explain(ctx, err)
	}
	img.Took = time.Since(start)
	return img, nil
}

func (j *job) create(ctx context.Context) (*Image, error) {
	made, err := j.makeSound(ctx)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(j.temp)
	if err != nil {
		return nil, err
	}
	err = f.Sync()
	if err == nil {
		err = os.Rename(j.temp, j.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return newImage(f, j.path, j.newRecord(made), Built)
}

// Stream makes an image as Create does and writes it to w. It is made in a file
// without a name in the cache's directory, or in that for temporary files if
// the cache has none: no format can be written from front to back.
func (c *Cache) Stream(ctx context.Context, cl *Closure, o Options, w io.Writer) error {
	dir, err := os.MkdirTemp(c.Dir, streamPrefix+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	img, err := c.Create(ctx, cl, o, filepath.Join(dir, streamFile))
	if err != nil {
		return err
	}
	defer img.Close()
	_, err = io.Copy(w, img.file)
	return err
}

// A stream's image is made in a directory of its own.
const (
	streamPrefix = ".stream-"
	streamFile   = "image"
)

// ZstdWriter returns a writer that compresses what is written to it, for images
// that are shipped: a guest cannot mount what comes out. The same input gives
// the same output. Close ends the stream and leaves w open.
func ZstdWriter(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
}

// CompressZstd compresses a finished image. A sparse erofs image is a tebibyte
// long, so it is refused: [Cache.Stream] makes a packed one.
func CompressZstd(ctx context.Context, w io.Writer, image *os.File) error {
	fi, err := image.Stat()
	if err != nil {
		return err
	}
	const sparse = 1 << 40
	if fi.Size() >= sparse {
		return fmt.Errorf("compress %s: it is a sparse image: export a packed one instead", image.Name())
	}
	z, err := ZstdWriter(w)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, &contextReader{ctx, io.NewSectionReader(image, 0, fi.Size())})
	return errors.Join(err, z.Close())
}

// A contextReader ends a copy when its context does.
type contextReader struct {
	ctx context.Context //nolint:containedctx // io.Reader has no room for one
	r   io.Reader
}

func (r *contextReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(b)
}
