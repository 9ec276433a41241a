package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A blank is a new file that has not got its name yet. Where the file system can,
// it has none at all, and is gone with its maker. Elsewhere it has a name of its
// own and is locked, so that what a maker left that was killed can be told from
// what one is busy with.
type blank struct {
	f    *os.File
	name string // or "" if it has none
}

// newBlank makes a file for path, and removes what makers of path left behind.
func newBlank(path string) (*blank, error) {
	sweep(path)
	b, err := unnamed(filepath.Dir(path))
	// Which of them says that there is no such thing depends on the file
	// system, and on the kernel's age; see open(2).
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return named(path)
	}
	return b, err
}

func unnamed(dir string) (*blank, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "make a file in", Path: dir, Err: err}
	}
	return &blank{f: os.NewFile(uintptr(fd), dir)}, nil
}

func named(path string) (*blank, error) {
	prefix, suffix := names(path)
	// Between its making and its locking a file looks abandoned. Whoever
	// sweeps it up in that moment is done with it at once.
	for range 100 {
		f, err := os.CreateTemp(filepath.Dir(path), prefix+"*"+suffix)
		if err != nil {
			return nil, err
		}
		b := &blank{f: f, name: f.Name()}
		var st unix.Stat_t
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink > 0 {
			return b, nil
		}
		b.close()
	}
	return nil, fmt.Errorf("make a file beside %s: somebody removes it every time", path)
}

// names are what the names of blanks for path begin and end with.
func names(path string) (prefix, suffix string) { return "." + filepath.Base(path) + ".", ".tmp" }

// sweep removes the blanks for path whose makers were killed. One that it cannot
// remove does no harm where it is.
func sweep(path string) {
	prefix, suffix := names(path)
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), prefix) || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		name := filepath.Join(filepath.Dir(path), e.Name())
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(name)
		}
		f.Close()
	}
}

// publish gives the blank its name. What has that name is never replaced, not
// even if it appeared just now: that is fs.ErrExist.
func (b *blank) publish(path string) error {
	var err error
	if b.name == "" {
		// linkat(2): the one way that needs no privilege.
		proc := fmt.Sprintf("/proc/self/fd/%d", b.f.Fd())
		err = unix.Linkat(unix.AT_FDCWD, proc, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	} else if err = unix.Renameat2(unix.AT_FDCWD, b.name, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); err == nil {
		b.name = ""
	}
	if err != nil {
		return fmt.Errorf("name it: %w", err)
	}
	return nil
}

// close lets go of the blank, which is gone unless it was published.
func (b *blank) close() {
	if b.name != "" {
		_ = os.Remove(b.name)
	}
	b.f.Close()
}

// noCoW keeps a copy-on-write file system from scattering the image's blocks.
// Only btrfs knows the flag; everywhere else it changes nothing.
func noCoW(f *os.File) {
	const fsNoCoW = 0x00800000 // FS_NOCOW_FL, linux/fs.h
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|fsNoCoW))
	}
}
