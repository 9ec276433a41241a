package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/console"
)

// A machine is one whose life a test decides.
type machine struct {
	agent *agent.Client
	hub   *console.Hub

	mu     sync.Mutex
	status Status
	events chan Event
}

func (m *machine) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

func (m *machine) Stop(why string) {
	m.events <- Event{Time: time.Now(), State: Stopping, Message: why}
	m.events <- Event{Time: time.Now(), State: Exited, Message: "stopped", Exit: &Exit{Reason: Stopped}}
}

func (m *machine) Follow(ctx context.Context, f func(Event) error) error {
	for {
		select {
		case e := <-m.events:
			if err := f(e); err != nil || e.Exit != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *machine) Kill(why string) { m.Stop(why) }

func (m *machine) Console() *console.Hub { return m.hub }

func (m *machine) Monitor(_ context.Context, o Order) error {
	if o.Do != "pause" {
		return fmt.Errorf("QEMU refuses to %s", o.Do)
	}
	return nil
}

func (m *machine) Exec(ctx context.Context, e handoff.Exec) (*agent.Session, error) {
	return m.agent.Start(ctx, e)
}

// serve starts a server for a machine that is ready, whose guest upper-cases
// the input of every command.
func serve(t *testing.T, path string) (*machine, *Client) {
	t.Helper()
	host, guest := net.Pipe()
	m := &machine{
		agent:  agent.New(host),
		status: Status{Name: "myvm", State: Ready, PID: os.Getpid(), Started: time.Now().Round(0).UTC()},
		events: make(chan Event, 8),
	}
	go shout(guest)
	s, err := Serve(path, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close() = %v", err)
		}
		m.agent.Close()
		guest.Close()
	})
	return m, NewClient("myvm", path)
}

// shout is the guest.
func shout(conn net.Conn) {
	send := func(k handoff.Kind, stream uint32, v any) {
		f := handoff.Frame{Kind: k, Stream: stream}
		if b, ok := v.([]byte); ok {
			f.Payload = b
		} else if v != nil {
			f, _ = handoff.JSON(k, stream, v)
		}
		conn.Write(handoff.AppendFrame(nil, f))
	}
	send(handoff.KindHello, 0, handoff.Hello{Version: handoff.Version})
	for {
		f, err := handoff.ReadFrame(conn)
		switch {
		case err != nil:
			return
		case f.Kind == handoff.KindStdin && len(f.Payload) == 0:
			send(handoff.KindStdout, f.Stream, nil)
			send(handoff.KindStderr, f.Stream, nil)
			send(handoff.KindExited, f.Stream, handoff.Exited{Code: 5})
		case f.Kind == handoff.KindStdin:
			send(handoff.KindStdout, f.Stream, bytes.ToUpper(f.Payload))
			conn.Write(handoff.AppendFrame(nil, handoff.Credit(f.Stream, len(f.Payload))))
		}
	}
}

func TestStatusCrossesTheSocket(t *testing.T) {
	m, c := serve(t, filepath.Join(t.TempDir(), "s"))
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.status, got); diff != "" {
		t.Errorf("Status() (-want +got):\n%s", diff)
	}
}

func TestLongPathsWork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, c := serve(t, filepath.Join(dir, "control.sock"))
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("Status() over a socket of %d bytes = %v", len(c.path), err)
	}
	if fi, err := os.Stat(c.path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v; want 0600", fi.Mode(), err)
	}
}

func TestStopIsFollowedToTheEnd(t *testing.T) {
	_, c := serve(t, filepath.Join(t.TempDir(), "s"))
	var seen []State
	exit, err := c.Stop(t.Context(), func(e Event) { seen = append(seen, e.State) })
	if err != nil || exit.Reason != Stopped {
		t.Errorf("Stop() = %+v, %v; want stopped", exit, err)
	}
	if diff := cmp.Diff([]State{Stopping, Exited}, seen); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestNobodyAtTheSocketIsNotRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := NewClient("myvm", path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Status() without a socket = %v; want ErrNotRunning", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // a socket that a killed process left
	if _, err := NewClient("myvm", path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Status() of a dead socket = %v; want ErrNotRunning", err)
	}
}

func TestExecRunsThroughTheSupervisor(t *testing.T) {
	_, c := serve(t, filepath.Join(t.TempDir(), "s"))
	input := strings.Repeat("many words ", 100_000) // four windows
	conn, s, err := c.Exec(t.Context(), handoff.Exec{Argv: []string{"shout"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out bytes.Buffer
	exited, err := s.Run(t.Context(), strings.NewReader(input), &out, io.Discard)
	if err != nil || exited.Code != 5 {
		t.Errorf("Run() = %+v, %v; want code 5", exited, err)
	}
	if out.String() != strings.ToUpper(input) {
		t.Errorf("got %d bytes back; want the %d that were sent, in capitals", out.Len(), len(input))
	}
}

func TestConsoleIsReadByManyAndTypedAtByOne(t *testing.T) {
	m, c := serve(t, filepath.Join(t.TempDir(), "s"))
	if _, err := c.Console(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "has no console") {
		t.Errorf("Console() without one = %v", err)
	}
	guest, host := net.Pipe()
	m.hub = console.NewHub(host, io.Discard)
	go guest.Write([]byte("login: "))
	for len(m.hub.Tail()) < 7 {
		runtime.Gosched()
	}
	first, err := c.Console(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	expect(t, first, "login: ")
	if _, err := c.Console(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("a second keyboard: Console() = %v", err)
	}
	watch, err := c.Watch(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	expect(t, watch, ": ")
	go io.WriteString(first, "root\n")
	expect(t, guest, "root\n")
	go guest.Write([]byte("Password: "))
	expect(t, first, "Password: ")
	expect(t, watch, "Password: ")
	guest.Close()
	if b, err := io.ReadAll(first); len(b) != 0 || err != nil {
		t.Errorf("after the guest's end the console gives %q, %v; want its end", b, err)
	}
}

func TestOrdersReachQEMU(t *testing.T) {
	_, c := serve(t, filepath.Join(t.TempDir(), "s"))
	if err := c.Monitor(t.Context(), Order{Do: "pause"}); err != nil {
		t.Errorf("Monitor(pause) = %v", err)
	}
	if err := c.Monitor(t.Context(), Order{Do: "dance"}); err == nil || err.Error() != "myvm: QEMU refuses to dance" {
		t.Errorf("Monitor(dance) = %v", err)
	}
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestExecIsRefusedUntilReady(t *testing.T) {
	m, c := serve(t, filepath.Join(t.TempDir(), "s"))
	m.mu.Lock()
	m.status.State = Booting
	m.mu.Unlock()
	_, _, err := c.Exec(t.Context(), handoff.Exec{Argv: []string{"true"}})
	if err == nil || err.Error() != "the guest is booting, not ready" {
		t.Errorf("Exec() = %v; want the guest is booting, not ready", err)
	}
}

func TestHostileClientsHarmNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, c := serve(t, path)
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 1000 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			break // the kernel's queue is full, which harms nobody either
		}
		conns = append(conns, conn)
		switch i % 4 {
		case 0: // says nothing
		case 1:
			conn.Write(bytes.Repeat([]byte{0xff}, 4096))
		case 2:
			conn.Write([]byte("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")) // and never reads
		case 3:
			conn.Write([]byte("POST /v1/exec HTTP/1.1\r\nHost: x\r\nUpgrade: mvm-agent\r\n\r\n" + strings.Repeat("junk", 100)))
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err != nil {
		t.Errorf("Status() after %d hostile connections = %v", len(conns), err)
	}
	for runtime.NumGoroutine() > before+8 && ctx.Err() == nil {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before+8 {
		t.Errorf("%d goroutines are left of %d", n, before)
	}
}

func TestOthersAreToldWhatTheyDidWrong(t *testing.T) {
	_, c := serve(t, filepath.Join(t.TempDir(), "s"))
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/v1/stop", http.StatusMethodNotAllowed},
		{http.MethodGet, "/v2/status", http.StatusNotFound},
		{http.MethodPost, "/v1/exec", http.StatusUpgradeRequired},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, "http://mvm"+tt.path, http.NoBody)
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s = %d; want %d", tt.method, tt.path, resp.StatusCode, tt.want)
		}
	}
	if got := fmt.Sprint(c.wrap(io.ErrUnexpectedEOF)); got != "myvm: unexpected EOF" {
		t.Errorf("wrap() = %q", got)
	}
}
