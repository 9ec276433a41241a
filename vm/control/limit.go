package control

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// sayWithin is how long a client has to say what it wants while others wait for
// its place. One that is served is never sent away for another.
const sayWithin = time.Second

// limit lets at most n accepted connections be open at once.
func limit(l net.Listener, n int) *limitListener {
	return &limitListener{Listener: l, n: n, changed: make(chan struct{}), closed: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	n      int
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	conns   []*limitConn  // open, oldest first
	changed chan struct{} // closed and replaced when one of them is closed or served
}

func (l *limitListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &limitConn{Conn: conn, l: l}
	for !l.admit(c) {
		if !l.wait() {
			conn.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// admit gives c a place if there is one.
func (l *limitListener) admit(c *limitConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.n {
		return false
	}
	c.since = time.Now()
	l.conns = append(l.conns, c)
	return true
}

// wait returns when there may be a place, and makes one of that of a client who
// has had its time to say something. It is false when the listener is closed.
func (l *limitListener) wait() bool {
	l.mu.Lock()
	var silent *limitConn
	if i := slices.IndexFunc(l.conns, func(c *limitConn) bool { return !c.served }); i >= 0 {
		silent = l.conns[i]
	}
	changed := l.changed
	l.mu.Unlock()
	var late <-chan time.Time
	if silent != nil {
		t := time.NewTimer(time.Until(silent.since.Add(sayWithin)))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-changed:
	case <-late:
		silent.closeIfSilent()
	case <-l.closed:
		return false
	}
	return true
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// A limitConn has one of a limitListener's places.
type limitConn struct {
	net.Conn
	l *limitListener

	// Guarded by the listener's lock.
	since  time.Time // when it was accepted, or last served
	served bool      // a request of its is being answered
}

func (c *limitConn) Close() error {
	c.l.mu.Lock()
	c.l.conns = slices.DeleteFunc(c.l.conns, func(o *limitConn) bool { return o == c })
	c.l.change()
	c.l.mu.Unlock()
	return c.Conn.Close()
}

func (c *limitConn) closeIfSilent() {
	c.l.mu.Lock()
	served := c.served
	c.l.mu.Unlock()
	if !served {
		c.Close()
	}
}

// serve marks c as served, or no longer so.
func (c *limitConn) serve(served bool) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.served, c.since = served, time.Now()
	c.l.change()
}

// change tells who waits. The lock is held.
func (l *limitListener) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// connKey is under which a request's context has its connection.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// marking tells the connection of a request that it is served.
func marking(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*limitConn); ok {
			c.serve(true)
			defer c.serve(false)
		}
		h.ServeHTTP(w, r)
	})
}
