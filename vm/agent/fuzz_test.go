package agent

import (
	"bytes"
	"io"
	"testing"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// A said is a guest that says what it has to say, and does not listen.
type said struct{ io.Reader }

func (said) Write(p []byte) (int, error) { return len(p), nil }
func (said) Close() error                { return nil }

// FuzzClient: whatever a guest says, a command that runs in it comes to an end, and
// so does the channel.
func FuzzClient(f *testing.F) {
	frame := func(k handoff.Kind, stream uint32, v any) []byte {
		fr, err := handoff.JSON(k, stream, v)
		if err != nil {
			f.Fatal(err)
		}
		return handoff.AppendFrame(nil, fr)
	}
	hello := frame(handoff.KindHello, 0, handoff.Hello{Version: handoff.Version})
	f.Add(hello)
	f.Add(append(hello, frame(handoff.KindReady, 0, handoff.Ready{MountInfo: "22 1 253:0 / / ro - erofs x ro"})...))
	f.Add(append(hello, frame(handoff.KindExited, 1, handoff.Exited{Code: 3})...))
	f.Add(append(hello, handoff.AppendFrame(nil, handoff.Frame{Kind: handoff.KindStdout, Stream: 1, Payload: []byte("out")})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(said{bytes.NewReader(b)})
		s, err := c.Start(t.Context(), handoff.Exec{Argv: []string{"true"}})
		for range c.Events() {
		}
		if err == nil {
			if exit, err := s.Wait(t.Context()); err == nil && (exit.Code < 0 || exit.Code > 255) {
				t.Errorf("Wait() = %+v", exit)
			}
			if out, _ := io.ReadAll(s.Stdout()); len(out) > handoff.Window {
				t.Errorf("%d bytes of output that nobody had asked for", len(out))
			}
		}
		c.Close()
		if c.Err() == nil {
			t.Error("Err() = nil of a channel that has ended")
		}
	})
}
