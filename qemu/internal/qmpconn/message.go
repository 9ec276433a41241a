package qmpconn

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

// MaxMessage bounds one message in bytes. QEMU's largest answer, its own
// schema, has under 1 MiB; 64 MiB is where patience ends.
const MaxMessage = 64 << 20

// A Greeting is how QEMU introduces itself.
type Greeting struct {
	Major, Minor, Micro int
	Package             string   // the distributor's version, may be empty
	Capabilities        []string // "oob", …
}

// An Event is something that happened in QEMU.
type Event struct {
	Name string          // "SHUTDOWN"
	Data json.RawMessage // an object; nil when the event has no data
	Time time.Time       // by QEMU's clock; zero when it cannot tell
}

// A message is any line that QEMU sends. Exactly one of its fields is set.
type message struct {
	greeting *Greeting
	event    *Event
	reply    *reply
}

// A reply is the answer to the command with the same id.
type reply struct {
	id     uint64
	result json.RawMessage
	err    *CommandError // without the command's name
}

// readLine reads up to a line feed, which it leaves out, in memory of its own.
// At the end of input it returns io.EOF, or io.ErrUnexpectedEOF within a line. A
// reset is such an end: a Unix socket reports it when QEMU has gone without
// reading all that it was sent.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > MaxMessage {
			return nil, fmt.Errorf("%w: message over %d bytes", ErrProtocol, MaxMessage)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err != io.EOF && !errors.Is(err, syscall.ECONNRESET):
			return nil, err
		case len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, io.EOF
		}
	}
}

// parse reads one line. Its errors match ErrProtocol.
func parse(line []byte) (message, error) {
	var w struct {
		QMP *struct {
			Version struct {
				QEMU    struct{ Major, Minor, Micro int }
				Package string
			}
			Capabilities []string
		}
		Event     *string
		Data      json.RawMessage
		Timestamp struct{ Seconds, Microseconds int64 }
		Return    json.RawMessage
		Error     *struct{ Class, Desc string }
		ID        json.RawMessage
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return message{}, fmt.Errorf("%w: %v in %.80q", ErrProtocol, err, line)
	}
	kinds := 0
	for _, is := range []bool{w.QMP != nil, w.Event != nil, w.Return != nil, w.Error != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return message{}, fmt.Errorf("%w: neither greeting, event nor reply: %.80q", ErrProtocol, line)
	}
	switch {
	case w.QMP != nil:
		v := w.QMP.Version
		return message{greeting: &Greeting{v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro, v.Package, w.QMP.Capabilities}}, nil
	case w.Event != nil:
		e := &Event{Name: *w.Event, Data: w.Data}
		// QEMU sends -1 for both when it cannot tell the time.
		if w.Timestamp.Seconds > 0 {
			e.Time = time.Unix(w.Timestamp.Seconds, w.Timestamp.Microseconds*1000)
		}
		return message{event: e}, nil
	}
	r := &reply{result: w.Return}
	if err := json.Unmarshal(w.ID, &r.id); err != nil {
		return message{}, fmt.Errorf("%w: reply without the id of a command: %.80q", ErrProtocol, line)
	}
	if w.Error != nil {
		r.err = &CommandError{Class: w.Error.Class, Desc: w.Error.Desc}
	}
	return message{reply: r}, nil
}
