package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mvmrun/mvm/vm/agent"
)

// A patient machine lets everything be done to it.
type patient struct{ *machine }

func (patient) Stop(string)                          {}
func (patient) Kill(string)                          {}
func (patient) Monitor(context.Context, Order) error { return nil }
func (patient) Follow(_ context.Context, f func(Event) error) error {
	return f(Event{State: Exited, Exit: &Exit{Reason: Stopped}})
}

// FuzzRequests: whatever a client says, it gets an answer or is left, and the next
// is served.
func FuzzRequests(f *testing.F) {
	host, guest := net.Pipe()
	m := &machine{agent: agent.New(host), status: Status{Name: "myvm", State: Ready}}
	go shout(guest)
	path := filepath.Join(f.TempDir(), "s")
	s, err := Serve(path, patient{m})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
		m.agent.Close()
		guest.Close()
	})
	for _, seed := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: mvm\r\n\r\n",
		"GET /v1/console?tail=10 HTTP/1.1\r\nHost: mvm\r\n\r\n",
		"GET /metrics HTTP/1.0\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: mvm\r\nContent-Length: 0\r\n\r\n",
		"POST /v1/monitor HTTP/1.1\r\nHost: mvm\r\nContent-Length: 14\r\n\r\n{\"do\":\"pause\"}",
		"POST /v1/exec HTTP/1.1\r\nHost: mvm\r\nConnection: Upgrade\r\nUpgrade: mvm-exec\r\n\r\n\x00\x00\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	ask := func(t *testing.T, request []byte) []byte {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second)) // against hanging
		_, _ = conn.Write(request)                         // it may have been refused by now
		_ = conn.CloseWrite()
		answer, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: no end of the answer", request)
		}
		return answer
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		ask(t, request)
		if answer := ask(t, []byte("GET /v1/status HTTP/1.0\r\n\r\n")); len(answer) == 0 {
			t.Errorf("after %q nobody is answered", request)
		}
	})
}
