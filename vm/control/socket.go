package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxPath is how long a socket's path may be: 108 bytes of sockaddr_un with
// the NUL (unix(7)).
const maxPath = 107

// reachable calls f with a path to the same socket that is short enough for
// the kernel: a long one goes through a descriptor of its directory.
func reachable(path string, f func(string) error) error {
	if len(path) <= maxPath {
		return f(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var l *net.UnixListener
	err := reachable(path, func(short string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// The path that the listener knows may go through a descriptor that is
	// closed by now; the run-time directory is removed as a whole in any case.
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return ownerListener{l}, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var conn net.Conn
	err := reachable(path, func(short string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	return conn, err
}

// ownerListener accepts connections of this user and of root only.
type ownerListener struct{ *net.UnixListener }

func (l ownerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(c); err == nil && (uid == 0 || uid == uint32(os.Getuid())) {
			return c, nil
		}
		c.Close()
	}
}

func peer(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// onHangUp calls f once the other side of an accepted connection has hung up,
// though nobody reads the connection and what was sent before is still unread.
// It watches until the returned function is called, which waits for f.
func onHangUp(conn net.Conn, f func()) (stop func()) {
	if l, ok := conn.(*limitConn); ok {
		conn = l.Conn
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return func() {}
	}
	// A descriptor of its own, since waiting keeps a connection's reader out.
	dup, err := u.File()
	if err != nil {
		return func() {}
	}
	raw, err := dup.SyscallConn()
	if err != nil {
		dup.Close()
		return func() {}
	}
	done := make(chan struct{})
	go func() { // ends with the connection, or by stop
		defer close(done)
		err := raw.Read(func(fd uintptr) bool {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			n, err := unix.Poll(fds, 0)
			return err == nil && n > 0
		})
		if err == nil {
			f()
		}
	}()
	return func() {
		_ = dup.SetReadDeadline(time.Unix(1, 0))
		<-done
		dup.Close()
	}
}

// refused reports whether err, of a request without an answer, means that no
// process listens at the socket, or none that does any more: a supervisor that
// ends hangs up on those who came too late.
func refused(err error) bool {
	for _, gone := range []error{os.ErrNotExist, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}
