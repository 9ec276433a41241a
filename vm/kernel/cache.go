package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/state"
)

// keepFor is how long an unpacked kernel is kept after its last use.
const keepFor = 30 * 24 * time.Hour

// name is the file in dir for the kernel at path. It is named by the identity of
// the one at path (device, inode, size, times), so finding it reads nothing.
func name(dir, path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", path, err)
	}
	id := sha256.Sum256(fmt.Appendf(nil, "1 %s %d %d %d %d %d", path, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()))
	return filepath.Join(dir, hex.EncodeToString(id[:16])+".vmlinux"), nil
}

// Found returns the file that [Unpacked] would return, if it is there already.
func Found(dir, path string) (string, bool) {
	file, err := name(dir, path)
	return file, err == nil && readable(file)
}

// Unpacked returns a file in dir with the kernel at path unpacked, and makes it
// if it is not there. The error wraps [ErrUnsupported] if that cannot be. Those
// not used for a month go when one is made.
func Unpacked(ctx context.Context, dir, path string) (string, error) {
	file, err := name(dir, path)
	if err != nil {
		return "", err
	}
	now := time.Now()
	if readable(file) {
		_ = os.Chtimes(file, now, now) // another user's cache is used as it is
		return file, nil
	}
	image, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer image.Close()
	fi, err := image.Stat()
	if err != nil {
		return "", err
	}
	p, err := payload(image, fi.Size())
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	sweep(dir, now)
	err = state.Replace(file, 0o644, func(f *os.File) error {
		if err := unpack(ctx, f, p); err != nil {
			return err
		}
		return checkPVH(f)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

func readable(file string) bool {
	f, err := os.Open(file)
	if err == nil {
		f.Close()
	}
	return err == nil
}

// sweep removes what was not used for long. What cannot be removed stays.
func sweep(dir string, now time.Time) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.vmlinux"))
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && now.Sub(fi.ModTime()) > keepFor {
			_ = os.Remove(f)
		}
	}
}
