package qemu

import "sync"

// A ring keeps the last bytes that were written to it.
type ring struct {
	mu    sync.Mutex
	limit int
	buf   []byte
	lost  bool
}

// Write never fails.
func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	if len(p) > r.limit {
		p, r.lost = p[len(p)-r.limit:], true
	}
	if over := len(r.buf) + len(p) - r.limit; over > 0 {
		r.buf, r.lost = append(r.buf[:0], r.buf[over:]...), true
	}
	r.buf = append(r.buf, p...)
	return n, nil
}

// String returns what is kept, after "…" when something was lost.
func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost {
		return "…" + string(r.buf)
	}
	return string(r.buf)
}
