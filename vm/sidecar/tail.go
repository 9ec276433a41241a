package sidecar

import "sync"

// tailLimit is how many bytes of a helper's messages are kept. A helper writes
// a few lines; one that logs every request writes gigabytes.
const tailLimit = 16 << 10

// A tail keeps the last bytes that were written to it.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	lost bool
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailLimit; over > 0 {
		t.buf, t.lost = append(t.buf[:0], t.buf[over:]...), true
	}
	return len(p), nil
}

// String returns what is kept, after "…" when something was lost.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost {
		return "…" + string(t.buf)
	}
	return string(t.buf)
}
