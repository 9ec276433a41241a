package agent

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// limit is a deadline against hanging, not a claim.
const limit = time.Minute

// A host is the other side of the channel, played by a test.
type host struct {
	t       *testing.T
	conn    net.Conn
	served  chan error // what Serve returned; buffered 1
	offs    chan bool  // what PowerOff was called with; buffered 1
	agent   *Agent
	pending []handoff.Frame
}

// connect starts an agent and takes its hello and ready.
func connect(t *testing.T) *host {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, 2)
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "socket")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	h := &host{t: t, conn: conns[0], served: make(chan error, 1), offs: make(chan bool, 1)}
	h.agent = &Agent{
		Ready:    func() handoff.Ready { return handoff.Ready{MountInfo: "mounted"} },
		PowerOff: func(reboot bool) { h.offs <- reboot },
		Log:      func(s string) { t.Log("agent: " + s) },
	}
	var wg sync.WaitGroup
	wg.Go(func() { h.served <- h.agent.Serve(conns[1], false); conns[1].Close() })
	t.Cleanup(func() { h.conn.Close(); wg.Wait() })
	if err := h.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	h.want(handoff.KindHello, 0)
	h.want(handoff.KindReady, 0)
	return h
}

func (h *host) send(k handoff.Kind, stream uint32, payload []byte) {
	h.t.Helper()
	if _, err := h.conn.Write(handoff.AppendFrame(nil, handoff.Frame{Kind: k, Stream: stream, Payload: payload})); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) sendJSON(k handoff.Kind, stream uint32, v any) {
	h.t.Helper()
	f, err := handoff.JSON(k, stream, v)
	if err != nil {
		h.t.Fatal(err)
	}
	h.send(k, stream, f.Payload)
}

// next returns the next frame of a stream, and keeps those of others.
func (h *host) next(stream uint32) handoff.Frame {
	h.t.Helper()
	for i, f := range h.pending {
		if f.Stream == stream {
			h.pending = append(h.pending[:i:i], h.pending[i+1:]...)
			return f
		}
	}
	for {
		f, err := handoff.ReadFrame(h.conn)
		if err != nil {
			h.t.Fatal(err)
		}
		if f.Stream == stream {
			return f
		}
		h.pending = append(h.pending, f)
	}
}

func (h *host) want(k handoff.Kind, stream uint32) handoff.Frame {
	h.t.Helper()
	f := h.next(stream)
	if f.Kind != k {
		h.t.Fatalf("frame = kind %d %q; want kind %d", f.Kind, f.Payload, k)
	}
	return f
}

// A result is what came of a command.
type result struct {
	Stdout, Stderr string
	Credit         int
	Exited         handoff.Exited
}

// collect takes everything of a command until it has exited, and gives credit
// for it.
func (h *host) collect(stream uint32) result {
	h.t.Helper()
	var r result
	ended := map[handoff.Kind]bool{}
	for {
		f := h.next(stream)
		if ended[f.Kind] {
			h.t.Fatalf("kind %d after its end", f.Kind)
		}
		switch f.Kind {
		case handoff.KindStdout, handoff.KindStderr:
			ended[f.Kind] = len(f.Payload) == 0
			if f.Kind == handoff.KindStdout {
				r.Stdout += string(f.Payload)
			} else {
				r.Stderr += string(f.Payload)
			}
			if len(f.Payload) > 0 {
				h.send(handoff.KindCredit, stream, handoff.Credit(stream, len(f.Payload)).Payload)
			}
		case handoff.KindCredit:
			n, err := f.Credits()
			if err != nil {
				h.t.Fatal(err)
			}
			r.Credit += n
		case handoff.KindExited:
			if err := f.Decode(&r.Exited); err != nil {
				h.t.Fatal(err)
			}
			return r
		default:
			h.t.Fatalf("kind %d on stream %d", f.Kind, stream)
		}
	}
}

// ended waits for Serve to return.
func (h *host) ended() error {
	h.t.Helper()
	select {
	case err := <-h.served:
		return err
	case <-time.After(limit):
		h.t.Fatal("Serve() did not return")
	}
	return errors.New("unreachable")
}
