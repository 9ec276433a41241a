package qmpconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestAWriteThatIsCutEndsTheConnection(t *testing.T) {
	c, s := ready(t)
	over, cancel := context.WithCancel(t.Context())
	done := background(func() {
		s.r.ReadByte() // it has begun, and cannot end: it exceeds the socket's buffer
		cancel()
	})
	if _, err := c.Do(over, "human-monitor-command", strings.Repeat("x", 8<<20)); !errors.Is(err, ErrClosed) {
		t.Errorf("Do() = %v; want ErrClosed", err)
	}
	<-done
	if _, err := c.Do(ctx(t), "query-status", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Do() after it = %v; want ErrClosed", err)
	}
}

func TestAWriteAfterAnInterruptedOneWorks(t *testing.T) {
	c, s := ready(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Do(over, "never-sent", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Do() = %v; want the context's end", err)
	}
	done := background(s.serve)
	if got, err := c.Do(ctx(t), "sent", nil); err != nil || string(got) != `"sent"` {
		t.Errorf("Do() = %s, %v; want its reply", got, err)
	}
	c.Close()
	<-done
}

func TestACommandDoesNotWaitForAnotherLongerThanItsContext(t *testing.T) {
	c, s := ready(t)
	first := background(func() {
		// It exceeds the socket's buffer, and nobody reads it to its end.
		if _, err := c.Do(ctx(t), "human-monitor-command", strings.Repeat("x", 8<<20)); !errors.Is(err, ErrClosed) {
			t.Errorf("Do() = %v; want ErrClosed", err)
		}
	})
	s.r.ReadByte() // the first is being written
	over, cancel := context.WithCancel(t.Context())
	second := background(func() {
		if _, err := c.Do(over, "quit", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Do() = %v; want the context's end", err)
		}
	})
	cancel()
	<-second
	third := background(func() {
		if _, err := c.Do(ctx(t), "quit", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Do() = %v; want ErrClosed", err)
		}
	})
	c.Close()
	<-first
	<-third
}

func TestAFileGoesWithItsCommand(t *testing.T) {
	c, s := ready(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	done := background(func() {
		line, oob := make([]byte, 1<<10), make([]byte, 64)
		n, oobn, _, _, err := s.conn.(*net.UnixConn).ReadMsgUnix(line, oob)
		var req request
		if err != nil || json.Unmarshal(line[:n], &req) != nil || req.Execute != "getfd" {
			t.Errorf("server: %q, %v; want getfd", line[:n], err)
			return
		}
		list, err := syscall.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(list) != 1 {
			t.Errorf("server: %d control messages, %v; want one", len(list), err)
			return
		}
		fds, err := syscall.ParseUnixRights(&list[0])
		if err != nil || len(fds) != 1 {
			t.Errorf("server: files %v, %v; want one", fds, err)
			return
		}
		passed := os.NewFile(uintptr(fds[0]), "passed")
		fmt.Fprint(passed, "hello")
		passed.Close()
		s.send(`{"return":{},"id":%s}`, req.ID)
	})
	call, err := c.Begin(ctx(t), "getfd", map[string]string{"fdname": "x"}, w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call.Wait(ctx(t)); err != nil {
		t.Errorf("Wait() = %v; want nil", err)
	}
	<-done
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
		t.Errorf("the file holds %q, %v; want what the other side wrote", got, err)
	}
}

func TestAFileNeedsATransportForIt(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := New(ours, nil)
	defer c.Close()
	if _, err := c.Begin(ctx(t), "getfd", nil, os.Stdin); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Begin() = %v; want ErrUnsupported", err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("Err() = %v; want a connection that lives", err)
	}
}

func TestCommandsFollowOneAnotherUnanswered(t *testing.T) {
	c, s := ready(t)
	first, err := c.Begin(ctx(t), "first", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Begin(ctx(t), "second", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, two := s.receive(), s.receive()
	if one.Execute != "first" || two.Execute != "second" {
		t.Errorf("commands %s, %s; want them in their order", one.Execute, two.Execute)
	}
	s.send(`{"return":1,"id":%s}`, one.ID)
	s.send(`{"return":2,"id":%s}`, two.ID)
	for want, call := range map[string]*Call{"1": first, "2": second} {
		if got, err := call.Wait(ctx(t)); err != nil || string(got) != want {
			t.Errorf("Wait() = %s, %v; want %s", got, err, want)
		}
	}
}
