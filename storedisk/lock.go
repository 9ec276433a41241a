package storedisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that another process, or another call in this one, has the
// lock.
var errLocked = errors.New("locked")

// A fileLock is an exclusive lock by the name of a file, which holds the pid
// of the owner for others to read. The kernel lets go of it when the last
// process that has the file open ends, and that may be a tool that outlived
// its builder.
type fileLock struct{ f *os.File }

// tryLock takes the lock or returns errLocked.
func tryLock(path string) (*fileLock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if errors.Is(err, fs.ErrPermission) {
			// Another user's, whose lock is as good; or else there is none,
			// and no right to make one.
			if theirs, oerr := os.Open(path); oerr == nil {
				f, err = theirs, nil
			}
		}
		if err != nil {
			return nil, err
		}
		if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, err
		}
		// The previous owner may have unlinked what was opened here; a lock
		// on a file that nobody else can open excludes nobody.
		if !sameFile(f, path) {
			f.Close()
			continue
		}
		// The pid is a courtesy to who waits: on a full disk it is missing.
		if f.Truncate(0) == nil {
			fmt.Fprintln(f, os.Getpid())
		}
		return &fileLock{f}, nil
	}
}

// lockFile waits for the lock. If it has to, it says once for whom: the pid is
// 0 if that cannot be told.
func lockFile(ctx context.Context, path string, waiting func(pid int)) (*fileLock, error) {
	// flock cannot wait for a lock and for a context at once. The step is
	// short against a build and long against a system call.
	const step = 20 * time.Millisecond
	for told := false; ; {
		l, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		if !told {
			told = true
			waiting(lockPID(path))
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(step):
		}
	}
}

// unlock removes the file and lets go of the lock, in this order: see tryLock.
func (l *fileLock) unlock() {
	os.Remove(l.f.Name())
	l.f.Close()
}

func lockPID(path string) int {
	b, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// flock applies op to f's open file description. It returns errLocked where
// it would have to wait.
func flock(f *os.File, op int) error {
	for {
		err := unix.Flock(int(f.Fd()), op)
		switch err {
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			return errLocked
		case nil:
			return nil
		}
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
}

// sameFile reports whether path still leads to the open file f.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}
