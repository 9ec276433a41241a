package volume

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A LockedError says that somebody else uses an image: anybody at all if it is to
// be written, or one who writes it.
type LockedError struct {
	Path string

	// PIDs are the processes that have it locked, of those that this user may
	// look at. This process is one of them when it opened the image before.
	PIDs []int
}

func (e *LockedError) Error() string {
	if len(e.PIDs) == 0 {
		return fmt.Sprintf("volume %s: somebody else uses it", e.Path)
	}
	return fmt.Sprintf("volume %s: process %d uses it", e.Path, e.PIDs[0])
}

// Bytes of an image that are locked; no image need be so long. The first is mvm's
// own, "mvm" read as a number, for the whole time of a machine. The others are
// QEMU's (block/file-posix.c): each stands for something that its holder does
// with the image, or does not let others do.
const (
	ownByte = 0x6d766d

	qemuWrites     = 100 + 1
	qemuResizes    = 100 + 3
	qemuKeepsRead  = 200 + 0
	qemuKeepsWrite = 200 + 1
)

// open opens the image and locks it, for reading together with others or for
// writing alone. A file system without locks has none.
//
// The locks are those of the open file (F_OFD_SETLK in fcntl(2)), as QEMU's are:
// others in this process do not drop them by closing a file of their own, and on
// NFS they are the server's.
func open(s Spec) (*Volume, error) {
	mode, kind, others := os.O_RDWR, int16(unix.F_WRLCK), []int64{qemuWrites, qemuResizes, qemuKeepsRead, qemuKeepsWrite}
	if s.ReadOnly {
		mode, kind, others = os.O_RDONLY, unix.F_RDLCK, others[:3]
	}
	if fi, err := os.Stat(s.Path); err == nil && isBlockDevice(fi) && !s.ReadOnly {
		mode |= unix.O_EXCL // refused while it is mounted or swapped to
	}
	f, err := os.OpenFile(s.Path, mode, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, &HostError{Op: s.op(), Err: errors.New("the host uses the device itself, or another machine does"),
			Hint: "unmount it, and take it out of what it is a part of (lsblk shows that)"}
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return nil, &HostError{Op: s.op(), Err: cause(err), Hint: "let the user who runs mvm open the image, or set readOnly = true"}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.op(), cause(err))
	}
	for _, at := range append(others, ownByte) {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
		if at == ownByte {
			lock.Type = kind
			err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		} else if gerr := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); gerr == nil && lock.Type != unix.F_UNLCK {
			err = unix.EAGAIN
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			locked := &LockedError{s.Path, holders(f)}
			f.Close()
			return nil, locked
		}
	}
	return &Volume{f: f}, nil
}

// holders are the processes that have a lock on the file of f, by another open
// file: the kernel names nobody when it refuses such a lock.
func holders(f *os.File) []int {
	ours, err := f.Stat()
	if err != nil {
		return nil
	}
	var found []int
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		theirs, err := os.Stat(fd)
		if err != nil || !os.SameFile(ours, theirs) {
			continue
		}
		parts := strings.Split(fd, "/") // "", "proc", PID, "fd", N
		pid, err := strconv.Atoi(parts[2])
		if err != nil || slices.Contains(found, pid) || pid == os.Getpid() && parts[4] == strconv.Itoa(int(f.Fd())) {
			continue
		}
		if isLocked(filepath.Join("/proc", parts[2], "fdinfo", parts[4])) {
			found = append(found, pid)
		}
	}
	return found
}

// isLocked reports whether a file of /proc/PID/fdinfo tells of a lock.
func isLocked(fdinfo string) bool {
	f, err := os.Open(fdinfo)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "lock:") {
			return true
		}
	}
	return false
}
