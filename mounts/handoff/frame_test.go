package handoff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadFrameReadsWhatAppendFrameWrote(t *testing.T) {
	frames := []Frame{
		{Kind: KindHello, Payload: []byte(`{"version":1}`)},
		{Kind: KindAck},
		{Kind: KindStdout, Stream: 1<<32 - 1, Payload: bytes.Repeat([]byte{0xff}, MaxPayload)},
		{Kind: KindStdin, Stream: 7},
		Credit(7, Window),
	}
	var wire []byte
	for _, f := range frames {
		wire = AppendFrame(wire, f)
	}
	// One byte at a time is how a busy virtio port may deliver them.
	r := iotest.OneByteReader(bytes.NewReader(wire))
	for i, want := range frames {
		got, err := ReadFrame(r)
		if err != nil {
			t.Fatalf("ReadFrame() of frame %d: %v", i, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ReadFrame() of frame %d (-want +got):\n%s", i, diff)
		}
	}
	if f, err := ReadFrame(r); !errors.Is(err, io.EOF) {
		t.Errorf("ReadFrame() at the end = %v, %v; want io.EOF", f, err)
	}
}

func TestFrameOnTheWire(t *testing.T) {
	got := AppendFrame([]byte("x"), Frame{Kind: KindExited, Stream: 0x01020304, Payload: []byte("ab")})
	want := []byte{'x', 0, 0, 0, 2, 40, 1, 2, 3, 4, 'a', 'b'}
	if !bytes.Equal(got, want) {
		t.Errorf("AppendFrame() = %v; want %v", got, want)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	whole := AppendFrame(nil, Frame{Kind: KindPing, Payload: []byte("ping")})
	for n := 1; n < len(whole); n++ {
		if _, err := ReadFrame(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("ReadFrame() of %d bytes: %v; want io.ErrUnexpectedEOF", n, err)
		}
	}
	for _, n := range []uint32{MaxPayload + 1, 1 << 31, 1<<32 - 1} {
		head := append(binary.BigEndian.AppendUint32(nil, n), 1, 0, 0, 0, 0)
		if _, err := ReadFrame(io.MultiReader(bytes.NewReader(head), endless{})); !errors.Is(err, ErrProtocol) {
			t.Errorf("ReadFrame() of a frame of %d bytes: %v; want ErrProtocol", n, err)
		}
	}
	broken := errors.New("broken")
	if _, err := ReadFrame(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("ReadFrame() of a broken reader: %v; want %v", err, broken)
	}
}

// endless is a peer that never stops talking.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestReadFrameAllocatesNoMoreThanAllowed(t *testing.T) {
	head := append(binary.BigEndian.AppendUint32(nil, 1<<32-1), 1, 0, 0, 0, 0)
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		ReadFrame(bytes.NewReader(head))
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 4096 {
		t.Errorf("ReadFrame() of an announced 4 GiB allocates %d bytes; want the header and the error only", n)
	}
}

func TestAppendFramePanicsOverTheLimit(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("AppendFrame() of too large a payload returned; want a panic")
		}
	}()
	AppendFrame(nil, Frame{Payload: make([]byte, MaxPayload+1)})
}

func TestJSON(t *testing.T) {
	want := Exec{Argv: []string{"sh", "-c", "true"}, TTY: &Size{Rows: 24, Cols: 80}}
	f, err := JSON(KindExec, 3, want)
	if err != nil {
		t.Fatal(err)
	}
	if f.Kind != KindExec || f.Stream != 3 {
		t.Errorf("JSON() = kind %d, stream %d; want 32, 3", f.Kind, f.Stream)
	}
	var got Exec
	if err := f.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decode() (-want +got):\n%s", diff)
	}

	if _, err := JSON(KindFailed, 0, Failed{Detail: strings.Repeat("x", MaxPayload)}); err == nil {
		t.Error("JSON() of too large a message = nil; want an error")
	}
	if _, err := JSON(KindFailed, 0, func() {}); err == nil {
		t.Error("JSON() of a function = nil; want an error")
	}
	for _, bad := range []string{"", "{", `{"argv":1}`, `{"argv":[]}x`} {
		if err := (Frame{Payload: []byte(bad)}).Decode(&got); !errors.Is(err, ErrProtocol) {
			t.Errorf("Decode(%q) = %v; want ErrProtocol", bad, err)
		}
	}
}

func TestCredits(t *testing.T) {
	for _, n := range []int{0, 1, MaxData, Window} {
		if got, err := Credit(1, n).Credits(); got != n || err != nil {
			t.Errorf("Credit(%d).Credits() = %d, %v; want %[1]d", n, got, err)
		}
	}
	for _, bad := range [][]byte{nil, {1}, {0, 0, 0, 0, 0}, {0, 4, 0, 1}, {255, 255, 255, 255}} {
		if n, err := (Frame{Kind: KindCredit, Payload: bad}).Credits(); !errors.Is(err, ErrProtocol) {
			t.Errorf("Credits() of %v = %d, %v; want ErrProtocol", bad, n, err)
		}
	}
}

// FuzzReadFrame plays a hostile peer: whatever is read must be what was on the
// wire, and nothing may be read beyond the frame.
func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(nil, Frame{Kind: KindPing, Payload: []byte("ping")}))
	f.Add(AppendFrame(AppendFrame(nil, Credit(1, 5)), Frame{Kind: KindStdout, Stream: 1, Payload: []byte("x")}))
	f.Add([]byte{0, 4, 0, 1, 1, 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		for {
			start := len(wire) - r.Len()
			fr, err := ReadFrame(r)
			if err != nil {
				if len(fr.Payload) > 0 {
					t.Fatalf("ReadFrame() = %d bytes with error %v", len(fr.Payload), err)
				}
				return
			}
			end := len(wire) - r.Len()
			if got := AppendFrame(nil, fr); !bytes.Equal(got, wire[start:end]) {
				t.Fatalf("AppendFrame(ReadFrame(%x)) = %x", wire[start:end], got)
			}
			var v Failed
			if err := fr.Decode(&v); err != nil && !errors.Is(err, ErrProtocol) {
				t.Fatalf("Decode() = %v; want ErrProtocol", err)
			}
			if n, err := fr.Credits(); err == nil && (n < 0 || n > Window) {
				t.Fatalf("Credits() = %d", n)
			}
		}
	})
}
