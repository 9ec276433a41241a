package console

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// tailSize is how much of the console's end is kept in memory as evidence: a
// kernel panic with its stack and the boot messages before it fit.
const tailSize = 64 << 10

// A Hub distributes one console.
type Hub struct {
	conn io.ReadWriteCloser
	log  io.Writer
	done chan struct{}

	drained chan struct{} // a Drain is over
	writing sync.Mutex    // held while somebody types

	mu      sync.Mutex
	tail    ring
	readers map[*Reader]struct{}
	logErr  error
	over    bool
	typing  bool // somebody has acquired the keyboard
}

// ErrBusy says that somebody else types at the console.
var ErrBusy = errors.New("somebody else is attached to the console")

// NewHub starts to read conn, which it owns from now on, and writes everything
// to log. A log that cannot be written is given up at its first error, which
// [Hub.LogErr] keeps: a full disk must not stop a guest.
func NewHub(conn io.ReadWriteCloser, log io.Writer) *Hub {
	h := &Hub{
		conn:    conn,
		log:     log,
		done:    make(chan struct{}),
		drained: make(chan struct{}),
		tail:    ring{max: tailSize},
		readers: make(map[*Reader]struct{}),
	}
	go h.run()
	return h
}

func (h *Hub) run() {
	defer close(h.done)
	buf := make([]byte, 32<<10)
	for {
		n, err := h.conn.Read(buf)
		if n > 0 {
			h.take(buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = h.drain(buf)
		}
		if err != nil {
			break
		}
	}
	h.mu.Lock()
	h.over = true
	for r := range h.readers {
		r.end()
	}
	h.mu.Unlock()
}

func (h *Hub) take(p []byte) {
	h.mu.Lock()
	h.tail.write(p)
	for r := range h.readers {
		r.put(p)
	}
	failed := h.logErr != nil
	h.mu.Unlock()
	if failed {
		return
	}
	if _, err := h.log.Write(p); err != nil {
		h.mu.Lock()
		h.logErr = err
		h.mu.Unlock()
	}
}

// Write types p at the console, whoever has its keyboard. It waits for a guest that
// does not read what is typed.
func (h *Hub) Write(p []byte) (int, error) {
	h.writing.Lock()
	defer h.writing.Unlock()
	return h.conn.Write(p)
}

// A Keyboard is the right to type at a console, which one has at a time.
type Keyboard struct {
	h        *Hub
	released atomic.Bool
}

// Acquire reserves the console for typing. Reading needs no reservation. The
// error is ErrBusy if somebody else has the keyboard.
func (h *Hub) Acquire() (*Keyboard, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.typing {
		return nil, ErrBusy
	}
	h.typing = true
	return &Keyboard{h: h}, nil
}

// Write types p. It waits for a guest that does not read what is typed.
func (k *Keyboard) Write(p []byte) (int, error) {
	k.h.writing.Lock()
	defer k.h.writing.Unlock()
	if k.released.Load() {
		return 0, net.ErrClosed
	}
	return k.h.conn.Write(p)
}

// Release gives the keyboard to the next one. It ends a Write that waits for the
// guest, and may be called more than once.
func (k *Keyboard) Release() {
	if k.released.Swap(true) {
		return
	}
	if conn, ok := k.h.conn.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = conn.SetWriteDeadline(time.Unix(1, 0))
		k.h.writing.Lock()
		_ = conn.SetWriteDeadline(time.Time{})
		k.h.writing.Unlock()
	}
	k.h.mu.Lock()
	k.h.typing = false
	k.h.mu.Unlock()
}

// Tail returns the last 64 KiB that the guest wrote.
func (h *Hub) Tail() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tail.bytes()
}

// Mark is how many bytes the guest has written so far.
func (h *Hub) Mark() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tail.total
}

// Since returns what the guest has written after a [Hub.Mark], the last 64 KiB of
// it.
func (h *Hub) Since(mark int64) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.tail.bytes()
	return b[max(0, int64(len(b))-(h.tail.total-mark)):]
}

// LogErr says why the log is incomplete, or is nil.
func (h *Hub) LogErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logErr
}

// Done is closed when the console has ended and everything it held was passed
// on.
func (h *Hub) Done() <-chan struct{} { return h.done }

// Close ends the console and waits until the last bytes are passed on. Readers
// then see io.EOF after what they still hold.
func (h *Hub) Close() error {
	err := h.conn.Close()
	<-h.done
	return err
}

// ring keeps the last max bytes.
type ring struct {
	max   int
	buf   []byte
	total int64 // how many were written
}

func (r *ring) write(p []byte) {
	r.total += int64(len(p))
	if len(p) >= r.max {
		r.buf = append(r.buf[:0], p[len(p)-r.max:]...)
		return
	}
	// Twice the limit before it is cut, so that cutting is rare.
	if len(r.buf)+len(p) > 2*r.max {
		n := copy(r.buf, r.buf[len(r.buf)-r.max:])
		r.buf = r.buf[:n]
	}
	r.buf = append(r.buf, p...)
}

func (r *ring) bytes() []byte {
	b := r.buf
	if len(b) > r.max {
		b = b[len(b)-r.max:]
	}
	return append([]byte(nil), b...)
}
