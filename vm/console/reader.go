package console

import (
	"fmt"
	"io"
	"sync"
)

// readerSize is how far behind a reader may fall, in bytes. A terminal that is
// stopped with ^S for a while catches up; one that never reads costs this much.
const readerSize = 1 << 20

// A Reader follows a console from where it was attached. It is for one
// goroutine.
type Reader struct {
	h *Hub

	mu   sync.Mutex
	cond *sync.Cond
	buf  []byte
	lost int
	over bool
}

// Attach returns a reader that begins with the last tail bytes (at most 64 KiB)
// and follows from there. Close must be called.
func (h *Hub) Attach(tail int) *Reader {
	r := &Reader{h: h}
	r.cond = sync.NewCond(&r.mu)
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.tail.bytes(); tail > 0 {
		r.buf = append(r.buf, b[max(0, len(b)-tail):]...)
	}
	if h.over {
		r.over = true
		return r
	}
	h.readers[r] = struct{}{}
	return r
}

// Read waits for the console. What was lost because the reader was too slow is
// replaced by a line that says how much.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.buf) == 0 && r.lost == 0 && !r.over {
		r.cond.Wait()
	}
	if r.lost > 0 {
		note := fmt.Sprintf("\r\n[mvm: %d bytes of console output were not read in time and are left out]\r\n", r.lost)
		r.lost = 0
		r.buf = append([]byte(note), r.buf...)
	}
	if len(r.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.buf)
	rest := copy(r.buf, r.buf[n:])
	r.buf = r.buf[:rest]
	return n, nil
}

// Close detaches the reader. A Read that waits returns io.EOF.
func (r *Reader) Close() error {
	r.h.mu.Lock()
	delete(r.h.readers, r)
	r.h.mu.Unlock()
	r.end()
	return nil
}

func (r *Reader) put(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, p...)
	if over := len(r.buf) - readerSize; over > 0 {
		r.lost += over
		rest := copy(r.buf, r.buf[over:])
		r.buf = r.buf[:rest]
	}
	r.cond.Signal()
}

func (r *Reader) end() {
	r.mu.Lock()
	r.over = true
	r.cond.Broadcast()
	r.mu.Unlock()
}
