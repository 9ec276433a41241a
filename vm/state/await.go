package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Await returns true once answers does, and false when nobody holds the
// machine's lock. It is for the moments in which a machine has been locked and
// does not answer at its socket yet, or not any more. It asks again when
// something changes there; nothing is polled.
func (m Machine) Await(ctx context.Context, answers func() bool) (bool, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return false, err
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	defer context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		// Anew each time: what was not there may be there now.
		for _, w := range []struct {
			path string
			mask uint32
		}{
			{filepath.Dir(m.Runtime), unix.IN_CREATE | unix.IN_MOVED_TO},
			{m.Runtime, unix.IN_CREATE | unix.IN_ATTRIB | unix.IN_DELETE}, // a socket gets its mode when it listens
			{m.LockFile(), unix.IN_CLOSE_WRITE},                           // as the kernel closes it, it drops the lock
		} {
			if _, err := unix.InotifyAddWatch(fd, w.path, w.mask); err != nil && !errors.Is(err, unix.ENOENT) {
				return false, &os.PathError{Op: "watch", Path: w.path, Err: err}
			}
		}
		if answers() {
			return true, nil
		}
		if running, err := m.Running(); err != nil || !running {
			return false, err
		}
		if _, err := events.Read(make([]byte, 4096)); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return false, err
		}
	}
}
