package console

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A pollable connection can be woken while it is read.
type pollable interface {
	syscall.Conn
	SetReadDeadline(time.Time) error
}

// Drain returns when everything that had arrived before it was called has been
// passed on. A connection that cannot be asked, as in a test, has nothing that
// waits. It must not be called twice at once.
func (h *Hub) Drain() {
	conn, ok := h.conn.(pollable)
	if !ok || conn.SetReadDeadline(time.Unix(1, 0)) != nil {
		return
	}
	select {
	case <-h.drained:
	case <-h.done:
	}
}

// drain takes what there is without waiting for more, after a Drain has
// interrupted the reader.
func (h *Hub) drain(buf []byte) error {
	conn := h.conn.(pollable)
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var n int
		var rerr error
		if err := raw.Control(func(fd uintptr) { n, rerr = unix.Read(int(fd), buf) }); err != nil {
			return err
		}
		if errors.Is(rerr, unix.EINTR) {
			continue
		}
		if rerr != nil || n == 0 {
			break // what there is to say about it, the next Read says
		}
		h.take(buf[:n])
	}
	h.drained <- struct{}{} // Drain has caused this, and waits
	return nil
}
