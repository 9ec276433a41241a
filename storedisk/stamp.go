package storedisk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sys/unix"
)

// Check reports every path of the closure that is not there, or that an image
// cannot hold. It looks at the paths, not into them.
func (c *Closure) Check(ctx context.Context) error {
	_, err := c.stamp(ctx)
	return err
}

// stamp checks that all paths exist and returns what distinguishes the content
// of those whose names do not. It is empty when Nix has finished every path, the
// usual case, and costs one lstat for each.
func (c *Closure) stamp(ctx context.Context) (string, error) {
	dir, err := unix.Open(c.StoreDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &HostError{Op: "open store " + c.StoreDir, Err: err, Hint: "set storeDir to the directory that holds the store paths"}
	}
	defer unix.Close(dir)

	var wrong *multierror.Error
	var open []string // paths that may still change
	for i, name := range c.Names {
		if i%256 == 0 && ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			wrong = multierror.Append(wrong, fmt.Errorf("%s: %w", c.Path(name), err))
			continue
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		default:
			wrong = multierror.Append(wrong, fmt.Errorf("%s is neither a file, a directory nor a link", c.Path(name)))
			continue
		}
		if !finished(&st) {
			open = append(open, name)
		}
	}
	if err := all("closure", wrong); err != nil || len(open) == 0 {
		return "", err
	}
	h := sha256.New()
	for _, name := range open {
		if err := c.stampTree(ctx, h, name); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// finished reports whether st is of a path that Nix has made canonical.
func finished(st *unix.Stat_t) bool {
	return st.Mtim.Sec == 1 && (st.Mode&unix.S_IFMT == unix.S_IFLNK || st.Mode&0o222 == 0)
}

// stampTree writes the status of everything under name to h. The status change
// time is the one mark that no write can avoid.
func (c *Closure) stampTree(ctx context.Context, h hash.Hash, name string) error {
	err := filepath.WalkDir(c.Path(name), func(p string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: p, Err: err}
		}
		fmt.Fprintf(h, "%q %d %d %o %d %d.%d\n", p[len(c.StoreDir):], st.Dev, st.Ino, st.Mode, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("closure changed while it was read: %w", err)
	}
	return err
}
