package qmpconn

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

const hello = `{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22},"package":"Debian"},"capabilities":["oob"]}}`

// A server is QEMU's end of a connection, played by a test. Nothing that it
// does is automatic, so a test reads as what goes over the wire.
type server struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// A request is a command as QEMU receives it.
type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
}

// pair returns a connection and its other end. Both are over a socket pair, as
// in life.
func pair(t *testing.T) (*Conn, *server) { return observedPair(t, nil) }

func observedPair(t *testing.T, observe func(Event)) (*Conn, *server) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	c := New(ends[0], observe)
	s := &server{t: t, conn: ends[1], r: bufio.NewReader(ends[1])}
	t.Cleanup(func() {
		s.conn.Close()
		c.Close()
	})
	return c, s
}

func (s *server) send(format string, args ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.conn, format+"\r\n", args...); err != nil {
		s.t.Errorf("server: %v", err)
	}
}

func (s *server) receive() request {
	s.t.Helper()
	line, err := s.r.ReadBytes('\n')
	var r request
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		s.t.Errorf("server: %q: %v", line, err)
	}
	return r
}

// greet plays the handshake.
func (s *server) greet() {
	s.t.Helper()
	s.send(hello)
	r := s.receive()
	if r.Execute != "qmp_capabilities" {
		s.t.Errorf("first command is %q; want qmp_capabilities", r.Execute)
	}
	s.send(`{"return":{},"id":%s}`, r.ID)
}

// serve answers every command with its own name until the client goes.
func (s *server) serve() {
	for {
		line, err := s.r.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			s.t.Errorf("server: %q: %v", line, err)
			return
		}
		fmt.Fprintf(s.conn, "{\"return\":%q,\"id\":%s}\r\n", r.Execute, r.ID)
	}
}

// ready returns a connection after its handshake.
func ready(t *testing.T) (*Conn, *server) {
	t.Helper()
	c, s := pair(t)
	done := background(s.greet)
	if _, err := c.Handshake(ctx(t)); err != nil {
		t.Fatal(err)
	}
	<-done
	return c, s
}

// background runs f; the channel is closed when it has returned.
func background(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// ctx returns a context that fails the test rather than let it hang.
func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, fmt.Errorf("test hangs: %w", io.ErrNoProgress))
	t.Cleanup(cancel)
	return c
}
