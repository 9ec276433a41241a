package storedisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// explain makes one sentence and a hint of an error that the host is to blame
// for.
func (j *job) explain(ctx context.Context, err error) error {
	if he := (*HostError)(nil); errors.As(err, &he) || ctx.Err() != nil {
		return err
	}
	dir := filepath.Dir(j.path)
	switch {
	case noSpace(err):
		return j.explainSpace(ctx, err)
	case readOnly(err) && j.inCache(err):
		return &HostError{
			Op: "make store disk in " + dir, Err: err,
			Hint: "use another cache directory, or let somebody who may write there build the disk first",
		}
	}
	return err
}

// inCache reports whether err is about a file of the cache, not of the store.
func (j *job) inCache(err error) bool {
	pe := (*fs.PathError)(nil)
	return errors.As(err, &pe) && !strings.HasPrefix(pe.Path, j.closure.StoreDir+"/")
}

// noSpace reports whether err means that the disk is full, or the user's share
// of it.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// full reports whether there is no room left for the file at path to grow.
func full(path string) bool {
	var free unix.Statfs_t
	const little = 64 << 10
	return unix.Statfs(filepath.Dir(path), &free) == nil && int64(free.Bavail)*free.Bsize < little
}

// explainSpace says how much there was to write and how much room there is. It
// is called after what was written is gone.
func (j *job) explainSpace(ctx context.Context, err error) error {
	dir := filepath.Dir(j.path)
	room := "the disk is full"
	if errors.Is(err, unix.EDQUOT) {
		room = "the quota is used up"
	}
	var free unix.Statfs_t
	if size, err := Size(ctx, j.closure); err == nil && unix.Statfs(dir, &free) == nil {
		room = fmt.Sprintf("%s: the closure has %s, and %s are free", room,
			FormatBytes(size.Bytes), FormatBytes(int64(free.Bavail)*free.Bsize))
	}
	return &HostError{
		Op: "make store disk in " + dir, Err: &spaceError{room, err},
		Hint: "free space there (mvm store gc), or use another cache directory",
	}
}

// A spaceError says in figures what the system call's error says in a word.
type spaceError struct {
	msg   string
	cause error
}

func (e *spaceError) Error() string { return e.msg }
func (e *spaceError) Unwrap() error { return e.cause }

// FormatBytes writes a number of bytes for people, with a binary unit: "1.2 GiB".
func FormatBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 999.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// removeIfThere removes a file that need not exist.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
