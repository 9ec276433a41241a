package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a helper may take until it answers: milliseconds on an
// idle host, and never for ever.
const startLimit = 30 * time.Second

// listenAndConnect returns a listening socket and a socket that is connected to
// it and waits to be accepted. Whoever comes first is served, and nobody else:
// the directory must be closed to others, and the path is gone on return. The
// path goes through the open directory, so that it is short however long the
// directory's is.
func listenAndConnect(dir string) (listener, conn *os.File, err error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	if listener, err = unixSocket("listener"); err != nil {
		return nil, nil, err
	}
	if conn, err = unixSocket("vhost-user"); err != nil {
		listener.Close()
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			listener.Close()
			conn.Close()
		}
	}()
	// Two shares of a machine may start at once: the descriptor tells them apart.
	name := fmt.Sprintf("virtiofsd-%d-%d", os.Getpid(), listener.Fd())
	addr := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(at) + "/" + name}
	_ = unix.Unlinkat(at, name, 0) // of a process that had this one's id and was killed
	if err := unix.Bind(int(listener.Fd()), addr); err != nil {
		return nil, nil, fmt.Errorf("bind in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unix.Unlinkat(at, name, 0)) }()
	if err := unix.Listen(int(listener.Fd()), 1); err != nil {
		return nil, nil, os.NewSyscallError("listen", err)
	}
	if err := unix.Connect(int(conn.Fd()), addr); err != nil {
		return nil, nil, os.NewSyscallError("connect", err)
	}
	return listener, conn, nil
}

// unixSocket returns a socket that Go's poller leaves alone: its children want
// it blocking.
func unixSocket(name string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// await lets greet speak to a new helper on conn and returns when it is
// satisfied. If the helper ends instead, its Died is the error, as it is. After
// an error the helper is gone.
func await(ctx context.Context, h *Helper, conn *os.File, greet func(io.ReadWriter) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("no answer within %v", startLimit))
	defer cancel()
	greeted := make(chan error, 1) // so that it can end when nobody listens any more
	var wg sync.WaitGroup
	wg.Go(func() { greeted <- greet(conn) })
	var err error
	select {
	case err = <-greeted:
		if err == nil {
			return nil
		}
		// A helper that gives up closes its sockets a moment before it ends.
		select {
		case <-h.Done():
		case <-time.After(lingering):
		case <-ctx.Done():
		}
	case <-h.Done():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select {
	case <-h.Done():
		err = h.Err()
	default:
		err = fmt.Errorf("start %s: %w", h.Name(), err)
		if line := telling(h.Stderr()); line != "" {
			err = fmt.Errorf("%w; it wrote: %s", err, line)
		}
	}
	_ = unix.Shutdown(int(conn.Fd()), unix.SHUT_RDWR) // ends greet
	wg.Wait()
	if stopErr := h.Stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	return err
}

// greetVhostUser asks for the back-end's features, as QEMU will, and reads the
// answer to its last byte.
func greetVhostUser(conn io.ReadWriter) error {
	const (
		getFeatures = 1
		version     = 1
		isReply     = 1 << 2
		header      = 12
	)
	// The protocol is in the host's byte order, which is little-endian on
	// every host that QEMU has virtiofs on.
	if _, err := conn.Write([]byte{getFeatures, 0, 0, 0, version, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	var reply [header + 8]byte
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return err
	}
	if reply[0] != getFeatures || reply[4]&isReply == 0 || reply[8] != 8 {
		return fmt.Errorf("its answer % x is not vhost-user", reply)
	}
	return nil
}
