package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mvmrun/mvm/qemu/internal/qmpconn"
)

// A QMP is a connection to QEMU's monitor. Its methods may be called from
// several goroutines. Their error is a [CommandError] when QEMU refused,
// matches [ErrClosed] when QEMU is gone, and is otherwise the context's cause.
type QMP struct {
	conn     *qmpconn.Conn
	greeting qmpconn.Greeting
}

// Version is QEMU's version.
type Version struct {
	Major   int    `json:"major"`
	Minor   int    `json:"minor"`
	Micro   int    `json:"micro"`
	Package string `json:"package,omitempty"` // the distributor's name for it
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// AtLeast reports whether v is major.minor or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Version returns what QEMU said of itself.
func (q *QMP) Version() Version {
	g := q.greeting
	return Version{g.Major, g.Minor, g.Micro, g.Package}
}

// Done is closed when QEMU has closed the connection or broken the protocol,
// and Err then says which.
func (q *QMP) Done() <-chan struct{} { return q.conn.Done() }

// Err returns nil until Done is closed, and then why.
func (q *QMP) Err() error { return q.conn.Err() }

// Do runs any command. Args is nil or marshals to a JSON object; what QEMU
// returns is unmarshalled into result unless that is nil.
func (q *QMP) Do(ctx context.Context, command string, args, result any) error {
	b, err := q.conn.Do(ctx, command, args)
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(b, result); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// Cont lets the guest run.
func (q *QMP) Cont(ctx context.Context) error { return q.Do(ctx, "cont", nil, nil) }

// Stop pauses the guest. Cont resumes it.
func (q *QMP) Stop(ctx context.Context) error { return q.Do(ctx, "stop", nil, nil) }

// SystemPowerdown presses the power button. It returns when QEMU has done so,
// whatever the guest makes of it.
func (q *QMP) SystemPowerdown(ctx context.Context) error {
	return q.Do(ctx, "system_powerdown", nil, nil)
}

// SystemReset resets the machine.
func (q *QMP) SystemReset(ctx context.Context) error { return q.Do(ctx, "system_reset", nil, nil) }

// ResetAnyway resets the machine even if a guest's own reset would end QEMU, as
// it does unless [Machine.AllowReset] is set. It needs QEMU 6.0.
func (q *QMP) ResetAnyway(ctx context.Context) error {
	action := func(reboot string) error {
		return q.Do(ctx, "set-action", map[string]string{"reboot": reboot}, nil)
	}
	if err := action("reset"); err != nil {
		return err
	}
	// QEMU decides what a reset means when it is asked for, so the action
	// can be put back at once.
	return errors.Join(q.SystemReset(ctx), action("shutdown"))
}

// Quit ends QEMU without asking the guest. That QEMU has gone before it
// answered is no error.
func (q *QMP) Quit(ctx context.Context) error {
	err := q.Do(ctx, "quit", nil, nil)
	if errors.Is(err, ErrClosed) && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// CtrlAltDel presses and releases the three keys.
func (q *QMP) CtrlAltDel(ctx context.Context) error { return q.SendKey(ctx, "ctrl", "alt", "delete") }

// SendKey presses keys together and releases them. The names are those of
// QEMU's QKeyCode. A machine without a keyboard refuses.
func (q *QMP) SendKey(ctx context.Context, keys ...string) error {
	type key struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	args := struct {
		Keys []key `json:"keys"`
	}{}
	for _, k := range keys {
		args.Keys = append(args.Keys, key{"qcode", k})
	}
	return q.Do(ctx, "send-key", args, nil)
}

// Status is what the machine does.
type Status struct {
	Running bool   `json:"running"`
	Status  string `json:"status"` // QEMU's RunState, as "prelaunch" or "paused"
}

// QueryStatus returns what the machine does.
func (q *QMP) QueryStatus(ctx context.Context) (Status, error) {
	var s Status
	err := q.Do(ctx, "query-status", nil, &s)
	return s, err
}

// An Event is something that happened in QEMU.
type Event struct {
	Name string          // "SHUTDOWN", "GUEST_PANICKED", "RESET", "POWERDOWN", "STOP", …
	Data json.RawMessage // an object, or nil
	Time time.Time       // by QEMU's clock; zero when it cannot tell
}

// A Shutdown is the data of a SHUTDOWN event.
type Shutdown struct {
	// Guest says that the guest caused it.
	Guest bool `json:"guest"`
	// Reason is QEMU's ShutdownCause: "guest-shutdown", "guest-reset",
	// "guest-panic", "host-qmp-quit", "host-signal", …
	Reason string `json:"reason"`
}

// Shutdown returns the event's data if the event is SHUTDOWN.
func (e Event) Shutdown() (Shutdown, bool) {
	var s Shutdown
	if e.Name != "SHUTDOWN" || json.Unmarshal(e.Data, &s) != nil {
		return Shutdown{}, false
	}
	return s, true
}

// A BlockError is the data of a BLOCK_IO_ERROR event.
type BlockError struct {
	Node      string `json:"node-name"` // the [Drive.ID]
	Operation string `json:"operation"` // "read" or "write"
	Action    string `json:"action"`    // "stop": the guest is paused; "report": it got an error
	NoSpace   bool   `json:"nospace"`
	Reason    string `json:"reason"` // as strerror(3) has it
}

// BlockError returns the event's data if the event is BLOCK_IO_ERROR.
func (e Event) BlockError() (BlockError, bool) {
	var b BlockError
	if e.Name != "BLOCK_IO_ERROR" || json.Unmarshal(e.Data, &b) != nil {
		return BlockError{}, false
	}
	return b, true
}

// Events is a queue of events. Close it when done.
type Events struct{ sub *qmpconn.Subscription }

// Events returns the events from now on; the first call also returns those
// since QEMU started. A reader that falls behind by thousands loses the oldest
// and delays nobody.
func (q *QMP) Events() *Events { return &Events{q.conn.Subscribe()} }

// Next returns the next event. When QEMU is gone and all events have been
// returned, the error matches [ErrClosed].
func (e *Events) Next(ctx context.Context) (Event, error) {
	ev, err := e.sub.Next(ctx)
	return Event(ev), err
}

// Dropped returns how many events were lost.
func (e *Events) Dropped() uint64 { return e.sub.Dropped() }

// Close ends the queue.
func (e *Events) Close() { e.sub.Close() }
