package storedisk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// Settle writes the image to the disk for good, so that it need not be made
// again if the host crashes. That can take seconds after a large build, and
// nothing after the kernel has written the data by itself; a machine that has
// booted is a good time.
func (c *Cache) Settle(ctx context.Context, img *Image) error {
	r, err := readRecord(img.Path)
	if err != nil || r.Settled {
		return err
	}
	if err := img.file.Sync(); err != nil {
		return err
	}
	if err := c.amend(ctx, img.Path, func(r *record) { r.Settled = true }); err != nil {
		return err
	}
	f, err := os.Open(img.Path + recordSuffix)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(img.Path)))
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
