package handoff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Limits of the channel. See the package comment.
const (
	// MaxPayload bounds a frame's payload in bytes. 256 KiB holds a mount
	// report of a thousand lines.
	MaxPayload = 256 << 10

	// MaxData is the most data that a well-behaved sender puts in one frame,
	// so that streams take turns on the wire.
	MaxData = 32 << 10

	// Window is how many bytes of each direction of a stream (standard
	// output and standard error together) may be on their way or unread.
	Window = 256 << 10

	// MaxStreams is how many commands may run at once.
	MaxStreams = 64

	headerSize = 9
)

// A Kind says what a frame means and who may send it.
type Kind uint8

// The kinds of frame. JSON payloads are named in the comment; a kind without a
// name has no payload.
const (
	// Guest to host, stream 0.
	KindHello  Kind = 1 // Hello: the first frame, before any other
	KindFailed Kind = 2 // Failed: the guest cannot boot; it powers off next
	KindReady  Kind = 3 // Ready: init is running
	KindExit   Kind = 4 // Exit: the guest's exit status; the host answers KindAck
	KindPong   Kind = 5 // the payload of the ping

	// Host to guest, stream 0.
	KindPoweroff Kind = 16 // Poweroff
	KindAck      Kind = 17 // the guest's exit status has been noted
	KindPing     Kind = 18 // any payload of at most 64 bytes

	// A command. Host to guest unless said otherwise.
	KindExec   Kind = 32 // Exec: opens the stream
	KindStdin  Kind = 33 // data; an empty payload closes standard input
	KindSignal Kind = 34 // Signal
	KindResize Kind = 35 // Size
	KindClose  Kind = 36 // nobody wants the command any more: kill it
	KindCredit Kind = 37 // both ways: a big-endian uint32 of bytes that were read
	KindStdout Kind = 38 // guest to host: data; an empty payload is end of file
	KindStderr Kind = 39 // guest to host: data; an empty payload is end of file
	KindExited Kind = 40 // guest to host: Exited; the last frame of the stream
)

// ErrProtocol is wrapped by the error for a frame that breaks a rule.
var ErrProtocol = errors.New("agent protocol violated")

// A Frame is one message.
type Frame struct {
	Kind    Kind
	Stream  uint32 // 0, or the command that the frame belongs to
	Payload []byte
}

// AppendFrame appends the wire form of f to b. It panics if the payload is over
// [MaxPayload], which is a bug in the caller.
func AppendFrame(b []byte, f Frame) []byte {
	if len(f.Payload) > MaxPayload {
		panic(fmt.Sprintf("handoff: frame of %d bytes", len(f.Payload)))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Payload)))
	b = append(b, byte(f.Kind))
	b = binary.BigEndian.AppendUint32(b, f.Stream)
	return append(b, f.Payload...)
}

// ReadFrame reads one frame. It returns io.EOF only between frames, and an
// error that wraps [ErrProtocol] for a frame that is too long. It never
// allocates more than was announced and allowed.
func ReadFrame(r io.Reader) (Frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: Kind(h[4]), Stream: binary.BigEndian.Uint32(h[5:])}
	n := binary.BigEndian.Uint32(h[:4])
	if n > MaxPayload {
		return Frame{}, fmt.Errorf("%w: frame of %d bytes, at most %d are allowed", ErrProtocol, n, MaxPayload)
	}
	if n == 0 {
		return f, nil
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// JSON returns a frame of stream 0 or a command with v as its payload.
func JSON(k Kind, stream uint32, v any) (Frame, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Frame{}, err
	}
	if len(b) > MaxPayload {
		return Frame{}, fmt.Errorf("message of %d bytes, at most %d are allowed", len(b), MaxPayload)
	}
	return Frame{Kind: k, Stream: stream, Payload: b}, nil
}

// Decode reads the payload as JSON into v. Unknown fields are ignored.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Payload, v); err != nil {
		return fmt.Errorf("%w: kind %d: %v", ErrProtocol, f.Kind, err)
	}
	return nil
}

// Credit returns the frame that gives n bytes back to the sender of a stream.
func Credit(stream uint32, n int) Frame {
	return Frame{Kind: KindCredit, Stream: stream, Payload: binary.BigEndian.AppendUint32(nil, uint32(n))}
}

// Credits reads the payload of a [KindCredit] frame.
func (f Frame) Credits() (int, error) {
	if len(f.Payload) != 4 {
		return 0, fmt.Errorf("%w: credit of %d bytes", ErrProtocol, len(f.Payload))
	}
	n := binary.BigEndian.Uint32(f.Payload)
	if n > Window {
		return 0, fmt.Errorf("%w: credit for %d bytes, the window is %d", ErrProtocol, n, Window)
	}
	return int(n), nil
}
