package qmpconn

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// patience is how long a call of [Monitor] waits for QEMU, since go-qemu's
// interface has no contexts. Healthy QEMUs on loaded hosts take seconds.
const patience = 30 * time.Second

// A Monitor is a connection in the words of go-qemu, so that its generated
// commands (qmp/raw) work over it. The connection's owner has done the
// handshake.
type Monitor struct{ *Conn }

var _ qmp.Monitor = Monitor{}

// Connect returns nil unless the connection has ended. It is there already.
func (m Monitor) Connect() error { return m.Err() }

// Disconnect closes the connection.
func (m Monitor) Disconnect() error { return m.Close() }

// Run runs a command given as a JSON object and returns QEMU's reply, an object
// with the member "return". Refusals are errors: see [CommandError].
func (m Monitor) Run(command []byte) ([]byte, error) {
	var c struct {
		Execute   string          `json:"execute"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.Unmarshal(command, &c); err != nil {
		return nil, fmt.Errorf("command %.80q: %w", command, err)
	}
	var args any
	if c.Arguments != nil {
		args = c.Arguments
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	result, err := m.Do(ctx, c.Execute, args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]json.RawMessage{"return": result})
}

// Events returns the events from now on. The channel is closed when ctx or the
// connection ends.
func (m Monitor) Events(ctx context.Context) (<-chan qmp.Event, error) {
	sub := m.Subscribe()
	out := make(chan qmp.Event)
	go func() {
		defer close(out)
		defer sub.Close()
		for {
			e, err := sub.Next(ctx)
			if err != nil {
				return
			}
			select {
			case out <- legacyEvent(e):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func legacyEvent(e Event) qmp.Event {
	le := qmp.Event{Event: e.Name}
	// Data that is no object has no place in go-qemu's type.
	_ = json.Unmarshal(e.Data, &le.Data)
	if !e.Time.IsZero() {
		le.Timestamp.Seconds = e.Time.Unix()
		le.Timestamp.Microseconds = int64(e.Time.Nanosecond() / 1000)
	}
	return le
}
