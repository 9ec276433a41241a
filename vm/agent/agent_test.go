package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// A guest is the far end of a channel, played by a test.
type guest struct {
	t    *testing.T
	conn net.Conn
}

// pair returns a client and its guest, joined by a socket with a real buffer.
func pair(t *testing.T) (*Client, *guest) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c, g := New(conn(fds[0])), &guest{t, conn(fds[1])}
	t.Cleanup(func() { c.Close(); g.conn.Close() })
	return c, g
}

func (g *guest) send(k handoff.Kind, stream uint32, v any) {
	g.t.Helper()
	f := handoff.Frame{Kind: k, Stream: stream}
	switch v := v.(type) {
	case nil:
	case []byte:
		f.Payload = v
	default:
		var err error
		if f, err = handoff.JSON(k, stream, v); err != nil {
			g.t.Fatal(err)
		}
	}
	// The client may have hung up already, which is what some tests want.
	if _, err := g.conn.Write(handoff.AppendFrame(nil, f)); err != nil && !errors.Is(err, syscall.EPIPE) {
		g.t.Fatal(err)
	}
}

func (g *guest) hello() {
	g.send(handoff.KindHello, 0, handoff.Hello{Version: handoff.Version, Kernel: "6.1"})
}

func (g *guest) expect(k handoff.Kind) handoff.Frame {
	g.t.Helper()
	f, err := handoff.ReadFrame(g.conn)
	if err != nil || f.Kind != k {
		g.t.Fatalf("the guest got kind %d, %v; want kind %d", f.Kind, err, k)
	}
	return f
}

func TestGuestSaysHelloReadyAndItsStatus(t *testing.T) {
	c, g := pair(t)
	g.hello()
	g.send(handoff.KindReady, 0, handoff.Ready{MountInfo: "1 1 0:1 / / rw - tmpfs rootfs rw"})
	g.send(handoff.KindExit, 0, handoff.Exit{Status: 3})
	if e := <-c.Events(); e.Hello == nil || e.Hello.Kernel != "6.1" {
		t.Errorf("first event %+v; want hello", e)
	}
	if e := <-c.Events(); e.Ready == nil || !strings.Contains(e.Ready.MountInfo, "rootfs") {
		t.Errorf("second event %+v; want ready", e)
	}
	if e := <-c.Events(); e.Exit == nil || e.Exit.Status != 3 {
		t.Errorf("third event %+v; want exit status 3", e)
	}
	g.expect(handoff.KindAck)
	g.conn.Close()
	if _, ok := <-c.Events(); ok {
		t.Error("an event after the guest hung up")
	}
	if err := c.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("Err() = %v; want EOF", err)
	}
}

func TestGuestThatBreaksARuleLosesTheChannel(t *testing.T) {
	big := bytes.Repeat([]byte("x"), handoff.MaxData)
	tests := []struct {
		name string
		do   func(g *guest)
		want string
	}{
		{"no hello", func(g *guest) { g.send(handoff.KindReady, 0, handoff.Ready{}) }, "before hello"},
		{"other version", func(g *guest) { g.send(handoff.KindHello, 0, handoff.Hello{Version: 99}) }, "version 99"},
		{"not a frame", func(g *guest) { g.conn.Write([]byte("login: root\r\n")) }, "bytes, at most"},
		{"not JSON", func(g *guest) { g.hello(); g.send(handoff.KindReady, 0, []byte("{")) }, "kind 3"},
		{"status of 1000", func(g *guest) { g.hello(); g.send(handoff.KindExit, 0, handoff.Exit{Status: 1000}) }, "exit status 1000"},
		{"unknown kind", func(g *guest) { g.hello(); g.send(99, 0, nil) }, "kind 99"},
		{"stream out of nowhere", func(g *guest) { g.hello(); g.send(handoff.KindStdout, 77, big) }, "stream 77"},
		{"flood of events", func(g *guest) {
			g.hello()
			for range 2 * eventBacklog {
				g.send(handoff.KindReady, 0, handoff.Ready{})
			}
		}, "more than"},
		{"more output than its window", func(g *guest) {
			g.hello()
			g.expect(handoff.KindExec)
			for range handoff.Window/len(big) + 1 {
				g.send(handoff.KindStdout, 1, big)
			}
		}, "not asked for"},
		{"credit for nothing", func(g *guest) {
			g.hello()
			g.expect(handoff.KindExec)
			g.conn.Write(handoff.AppendFrame(nil, handoff.Credit(1, 1)))
		}, "more than was sent"},
		{"output after its end", func(g *guest) {
			g.hello()
			g.expect(handoff.KindExec)
			g.send(handoff.KindStdout, 1, nil)
			g.send(handoff.KindStdout, 1, []byte("x"))
		}, "after end of file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, g := pair(t)
			s, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"true"}})
			if err != nil {
				t.Fatal(err)
			}
			tt.do(g)
			<-c.Done()
			if err := c.Err(); !errors.Is(err, handoff.ErrProtocol) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Err() = %v; want a protocol error with %q", err, tt.want)
			}
			if _, err := s.Wait(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("Wait() of a command on the lost channel = %v; want ErrClosed", err)
			}
			if _, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"true"}}); !errors.Is(err, ErrClosed) {
				t.Errorf("Start() on the lost channel = %v; want ErrClosed", err)
			}
		})
	}
}

func TestCommandGetsInputAndGivesOutput(t *testing.T) {
	c, g := pair(t)
	g.hello()
	s, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	var e handoff.Exec
	if err := g.expect(handoff.KindExec).Decode(&e); err != nil || e.Argv[0] != "cat" {
		t.Fatalf("the guest was asked for %+v, %v", e, err)
	}
	// More than a window each way: it flows only if credits do.
	input := bytes.Repeat([]byte("0123456789abcdef"), 3*handoff.Window/16)
	go func() {
		s.WriteStdin(t.Context(), input)
		s.CloseStdin(t.Context())
	}()
	go func() { // a guest that echoes, within its own window
		room, eof := handoff.Window, false
		var pending []byte
		for !eof || len(pending) > 0 {
			f, err := handoff.ReadFrame(g.conn)
			if err != nil {
				return
			}
			if f.Kind == handoff.KindCredit {
				n, _ := f.Credits()
				room += n
			} else {
				eof = len(f.Payload) == 0
				pending = append(pending, f.Payload...)
			}
			if n := min(room, len(pending), handoff.MaxData); n > 0 {
				g.send(handoff.KindStdout, 1, pending[:n])
				g.conn.Write(handoff.AppendFrame(nil, handoff.Credit(1, n)))
				pending, room = pending[n:], room-n
			}
		}
		g.send(handoff.KindStderr, 1, []byte("done"))
		g.send(handoff.KindStdout, 1, nil)
		g.send(handoff.KindExited, 1, handoff.Exited{Code: 7})
	}()
	out, err := io.ReadAll(s.Stdout())
	if err != nil || !bytes.Equal(out, input) {
		t.Errorf("read %d bytes, %v; want the %d that were sent", len(out), err, len(input))
	}
	if b, err := io.ReadAll(s.Stderr()); string(b) != "done" || err != nil {
		t.Errorf("standard error = %q, %v; want done", b, err)
	}
	if e, err := s.Wait(t.Context()); e.Code != 7 || err != nil {
		t.Errorf("Wait() = %+v, %v; want code 7", e, err)
	}
}

func TestGuestThatDoesNotReadBlocksNobodyForEver(t *testing.T) {
	c, g := pair(t)
	g.hello()
	s, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if n, err := s.WriteStdin(ctx, make([]byte, 4<<20)); !errors.Is(err, context.DeadlineExceeded) || n > handoff.Window {
		t.Errorf("WriteStdin() = %d, %v; want at most a window and a deadline", n, err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ping() = %v; want a deadline", err)
		}
	}
	if len(c.pongs) != 0 {
		t.Errorf("%d pings are remembered; want none", len(c.pongs))
	}
	// What the guest says is heard all the same.
	g.send(handoff.KindExit, 0, handoff.Exit{Status: 1})
	<-c.Events()
	if e := <-c.Events(); e.Exit == nil {
		t.Errorf("event %+v; want exit", e)
	}
}

// A command may end, and the guest hang up, before the client has noticed that
// its request was written.
func TestCommandThatEndsWithTheChannelHasRun(t *testing.T) {
	for range 200 {
		c, g := pair(t)
		g.hello()
		over := make(chan struct{})
		go func() {
			defer close(over)
			if f, err := handoff.ReadFrame(g.conn); err != nil || f.Kind != handoff.KindExec {
				t.Errorf("the guest got kind %d, %v; want a command", f.Kind, err)
			}
			g.send(handoff.KindExited, 1, handoff.Exited{Code: 127, Err: "nonsense: command not found"})
			g.conn.Close()
		}()
		s, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"nonsense"}})
		<-over
		if err != nil {
			t.Fatalf("Start() = %v; want a session", err)
		}
		if e, err := s.Wait(t.Context()); err != nil || e.Code != 127 {
			t.Fatalf("Wait() = %+v, %v; want code 127", e, err)
		}
	}
}

func TestCommandsAreLimitedInNumber(t *testing.T) {
	c, g := pair(t)
	g.hello()
	go io.Copy(io.Discard, g.conn)
	for range handoff.MaxStreams {
		if _, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"true"}}); err == nil {
		t.Errorf("Start() of command %d = nil; want an error", handoff.MaxStreams+1)
	}
}

func TestWhatWasSaidBeforeHangingUpIsHeard(t *testing.T) {
	c, g := pair(t)
	g.hello()
	s, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	g.expect(handoff.KindExec)
	// The guest hangs up while there is still something to be written to it.
	g.send(handoff.KindStdout, 1, []byte("last words"))
	g.send(handoff.KindExited, 1, handoff.Exited{Code: 3})
	g.conn.Close()
	_ = s.CloseStdin(t.Context()) // fails, or not: that is a race
	out, err := io.ReadAll(s.Stdout())
	if string(out) != "last words" || err != nil {
		t.Errorf("read %q, %v; want the last words", out, err)
	}
	if e, err := s.Wait(t.Context()); e.Code != 3 || err != nil {
		t.Errorf("Wait() = %+v, %v; want code 3", e, err)
	}
}
