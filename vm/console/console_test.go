package console

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEveryReaderSeesEverythingFromWhereItCame(t *testing.T) {
	guest, host := net.Pipe()
	var log bytes.Buffer
	h := NewHub(host, &log)
	first := h.Attach(0)
	say(t, guest, "one ")
	expect(t, first, "one ")
	second := h.Attach(4)
	third := h.Attach(0)
	say(t, guest, "two")
	guest.Close()
	<-h.Done()
	for name, r := range map[*Reader]string{first: "two", second: "one two", third: "two"} {
		got, err := io.ReadAll(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, string(got)); diff != "" {
			t.Errorf("reader saw (-want +got):\n%s", diff)
		}
	}
	if got := log.String(); got != "one two" {
		t.Errorf("log = %q; want %q", got, "one two")
	}
	if got := string(h.Tail()); got != "one two" {
		t.Errorf("Tail() = %q; want %q", got, "one two")
	}
	if got, _ := io.ReadAll(h.Attach(3)); string(got) != "two" {
		t.Errorf("a reader attached after the end saw %q; want %q", got, "two")
	}
}

func TestReaderThatNeverReadsCostsABoundedBuffer(t *testing.T) {
	guest, host := net.Pipe()
	h := NewHub(host, io.Discard)
	r := h.Attach(0)
	chunk := strings.Repeat("x", 32<<10)
	const chunks = 64 // 2 MiB, twice what a reader may hold
	for range chunks {
		say(t, guest, chunk)
	}
	guest.Close()
	<-h.Done()
	if got := len(r.buf); got > readerSize {
		t.Errorf("an idle reader holds %d bytes; want at most %d", got, readerSize)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d bytes of console output were not read", chunks*len(chunk)-readerSize)
	if !strings.Contains(string(got[:200]), want) {
		t.Errorf("reader begins with %q; want it to say %q", got[:200], want)
	}
}

func TestLogThatFailsDoesNotStopTheConsole(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	guest, host := net.Pipe()
	h := NewHub(host, full)
	r := h.Attach(0)
	say(t, guest, "hello")
	expect(t, r, "hello")
	say(t, guest, "again")
	expect(t, r, "again")
	guest.Close()
	<-h.Done()
	if h.LogErr() == nil {
		t.Error("LogErr() = nil; want no space left on device")
	}
}

func TestLogTurnsOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	l, err := OpenLog(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"aaaa", "bbbb", "cccc", "dddddddddddddddd", "ee"} {
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path: "ee", path + ".1": "dddddddddddddddd"} {
		if got, _ := os.ReadFile(name); string(got) != want {
			t.Errorf("%s = %q; want %q", filepath.Base(name), got, want)
		}
	}
}

func TestLogKnowsItsTimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	begin := time.Unix(1_800_000_000, 0)
	open := func(now time.Time) *Log {
		t.Helper()
		l, err := OpenLog(path, 20)
		if err != nil {
			t.Fatal(err)
		}
		l.now = func() time.Time { return now }
		return l
	}
	// Seconds since the beginning, and what is written then: 20 bytes turn it over.
	for _, w := range []struct {
		at   float64
		text string
	}{{0, "one "}, {0.9, "still "}, {2, "two "}, {3600, "hour "}, {3601, "turned "}, {3700, "later"}} {
		l := open(begin.Add(time.Duration(w.at * float64(time.Second))))
		if _, err := io.WriteString(l, w.text); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		since float64
		want  string
	}{{-1, "one still two hour |turned later"}, {0, "one still two hour |turned later"}, {1.95, "two hour |turned later"}, {3, "hour |turned later"},
		{3600.5, "hour |turned later"}, {3601, "|turned later"}, {3602, "|later"}, {3701, "|"}} {
		var got string
		for i, p := range []string{path + ".1", path} {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			at, ok, err := OffsetSince(p, begin.Add(time.Duration(tt.since*float64(time.Second))))
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				got += "|"
			}
			if ok {
				got += string(text[at:])
			}
		}
		if got != tt.want {
			t.Errorf("since %v s: %q; want %q", tt.since, got, tt.want)
		}
	}
	// One that was emptied begins anew.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	l := open(begin.Add(2 * time.Hour))
	if _, err := io.WriteString(l, "new"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if at, ok, err := OffsetSince(path, begin); at != 0 || !ok || err != nil {
		t.Errorf("OffsetSince() of an emptied log = %d, %v, %v; want its beginning", at, ok, err)
	}
}

func TestRingKeepsTheEnd(t *testing.T) {
	r := ring{max: 5}
	for _, tt := range []struct{ in, want string }{
		{"abc", "abc"}, {"de", "abcde"}, {"f", "bcdef"}, {"ghij", "fghij"},
		{"0123456789", "56789"}, {"", "56789"},
	} {
		r.write([]byte(tt.in))
		if got := string(r.bytes()); got != tt.want {
			t.Errorf("after %q the ring holds %q; want %q", tt.in, got, tt.want)
		}
	}
}

func say(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// TestDrainWaitsForWhatHasArrived: also while the guest writes on, and often.
func TestDrainWaitsForWhatHasArrived(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	h := NewHub(ends[0], io.Discard)
	for i := range 200 {
		mark := h.Mark()
		want := strings.Repeat(fmt.Sprintf("line %d\n", i), 1+i%50)
		say(t, ends[1], want)
		h.Drain()
		if got := string(h.Since(mark)); got != want {
			t.Fatalf("round %d: after Drain() there are %d bytes; want %d", i, len(got), len(want))
		}
	}
	ends[1].Close()
	h.Drain()
	<-h.Done()
	h.Drain()
	if got := h.Since(0); int64(len(got)) != min(h.Mark(), tailSize) {
		t.Errorf("Since(0) has %d bytes; want all %d, or the last %d", len(got), h.Mark(), tailSize)
	}
}
