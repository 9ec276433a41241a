package console

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainLimit is more than a socket's buffer holds (net.core.rmem_default is 208 KiB):
// what has arrived since then is not waited for.
const drainLimit = 4 << 20

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
	for taken := 0; taken < drainLimit; {
		n := 0
		var again bool
		err := raw.Control(func(fd uintptr) {
			var rerr error
			n, rerr = unix.Read(int(fd), buf)
			again = errors.Is(rerr, unix.EINTR)
		})
		if err != nil {
			return err
		}
		if n > 0 {
			h.take(buf[:n])
			taken += n
		} else if !again {
			break // empty, or at its end: the next Read says
		}
	}
	h.drained <- struct{}{} // Drain has caused this, and waits
	return nil
}
