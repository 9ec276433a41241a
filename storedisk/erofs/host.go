package erofs

import (
	"bytes"
	"errors"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of reading a source. They take the place of package os
// because a closure has 10^5 files, and os registers each with the poller and
// the garbage collector.

// retry calls f until a signal does not interrupt it, which happens on network
// file systems in spite of SA_RESTART.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openat opens name for reading. It never follows a link, and never waits for
// the other end of a pipe that has taken a file's place.
func openat(dirfd int, name string, flags int) (fd int, err error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	err = retry(func() error {
		fd, err = unix.Openat(dirfd, name, flags, 0)
		return err
	})
	return fd, err
}

func lstat(path string, st *unix.Stat_t) error {
	if err := fstatat(unix.AT_FDCWD, path, st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return nil
}

func fstatat(dirfd int, name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstatat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

func pread(fd int, b []byte, off int64) (n int, err error) {
	err = retry(func() error {
		n, err = unix.Pread(fd, b, off)
		return err
	})
	return n, err
}

// list reads the entries of directory fd into sc.names, in the host's order.
func (sc *scanner) list(fd int) error {
	if sc.buf == nil {
		sc.buf = make([]byte, 32<<10)
	}
	sc.names = sc.names[:0]
	for {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Getdents(fd, sc.buf)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		sc.parse(sc.buf[:n])
	}
}

// parse takes linux_dirent64 records: d_ino, d_off, d_reclen, d_type, d_name.
func (sc *scanner) parse(b []byte) {
	const (
		offReclen = unsafe.Offsetof(unix.Dirent{}.Reclen)
		offType   = unsafe.Offsetof(unix.Dirent{}.Type)
		offName   = unsafe.Offsetof(unix.Dirent{}.Name)
	)
	for len(b) > 0 {
		size := *(*uint16)(unsafe.Pointer(&b[offReclen])) // in the host's byte order
		name := b[offName:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if s := string(name); s != "." && s != ".." {
			sc.names = append(sc.names, entry{s, b[offType]})
		}
		b = b[size:]
	}
}
