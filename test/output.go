package test

import (
	"bytes"
	"strings"
	"sync"
)

// An output collects what a process writes and can be waited on. The zero value
// is ready.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed at the next write; nil when nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await returns true as soon as text was written, and false if it was not when
// done is closed.
func (o *output) await(text string, done <-chan struct{}) bool {
	for {
		o.mu.Lock()
		found := bytes.Contains(o.buf.Bytes(), []byte(text))
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-changed:
		case <-done:
			return strings.Contains(o.String(), text)
		}
	}
}

// tail is the end of s: what a log needs of a console.
func tail(s string) string {
	const most = 8 << 10
	if n := len(s) - most; n > 0 {
		return "…" + s[n:]
	}
	return s
}
