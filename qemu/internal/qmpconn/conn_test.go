package qmpconn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHandshakeReturnsTheGreeting(t *testing.T) {
	c, s := pair(t)
	done := background(s.greet)
	got, err := c.Handshake(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	<-done
	want := Greeting{7, 2, 22, "Debian", []string{"oob"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Handshake() (-want +got):\n%s", diff)
	}
}

// The names below follow the list of what is wrong with the client that one
// would otherwise use, go-qemu's SocketMonitor.

func TestDefect1RepliesAreExactUnderAFloodOfEvents(t *testing.T) {
	c, s := ready(t)
	done := background(func() {
		for i := range 300 {
			r := s.receive()
			for range 20 {
				s.send(`{"event":"RTC_CHANGE","data":{"offset":%d},"timestamp":{"seconds":1,"microseconds":2}}`, i)
			}
			s.send(`{"return":{"for":%s},"id":%s}`, r.ID, r.ID)
			for range 20 {
				s.send(`{"event":"BALLOON_CHANGE","data":{"actual":%d},"timestamp":{"seconds":1,"microseconds":2}}`, i)
			}
		}
	})
	var answers []string
	for range 300 {
		b, err := c.Do(ctx(t), "query-status", nil)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, string(b))
	}
	<-done
	for i, got := range answers {
		var v struct{ For int }
		if err := json.Unmarshal([]byte(got), &v); err != nil || v.For != i+2 { // the handshake had id 1
			t.Errorf("reply %d = %s; want its own id", i, got)
		}
	}
}

func TestDefect2ALongReplyIsRead(t *testing.T) {
	c, s := ready(t)
	long := strings.Repeat("x", 3<<20)
	done := background(func() {
		r := s.receive()
		s.send(`{"return":%q,"id":%s}`, long, r.ID)
	})
	got, err := c.Do(ctx(t), "query-qmp-schema", nil)
	<-done
	if err != nil || len(got) != len(long)+2 {
		t.Errorf("Do() = %d bytes, %v; want %d", len(got), err, len(long)+2)
	}
}

func TestDefect2AnEndlessMessageEndsTheConnection(t *testing.T) {
	c, s := pair(t)
	done := background(func() {
		block := []byte(strings.Repeat("x", 1<<20))
		for {
			if _, err := s.conn.Write(block); err != nil {
				return
			}
		}
	})
	if _, err := c.Handshake(ctx(t)); !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrClosed) {
		t.Errorf("Handshake() = %v; want a protocol error", err)
	}
	<-done
}

func TestDefect3ASilentServerCostsOnlyTheContext(t *testing.T) {
	c, s := pair(t)
	gaveUp := errors.New("gave up")
	over, cancel := context.WithCancelCause(t.Context())
	cancel(gaveUp)
	if _, err := c.Handshake(over); !errors.Is(err, gaveUp) {
		t.Errorf("Handshake() = %v; want the context's cause", err)
	}
	done := background(s.greet)
	if _, err := c.Handshake(ctx(t)); err != nil {
		t.Fatal(err)
	}
	<-done

	live, cancel := context.WithCancelCause(t.Context())
	done = background(func() {
		s.receive()
		cancel(gaveUp)
	})
	if _, err := c.Do(live, "query-status", nil); !errors.Is(err, gaveUp) {
		t.Errorf("Do() = %v; want the context's cause", err)
	}
	<-done
}

func TestDefect3AMalformedMessageFailsTheCommandsUnderWay(t *testing.T) {
	for _, bad := range []string{
		`garbage`, `{"return":`, `[]`, `"x"`, `{}`, `{"return":{},"error":{}}`, `{"event":7}`,
		`{"return":{}}`, `{"return":{},"id":"x"}`, `{"return":{},"id":99}`, `{"return":{},"id":0}`,
		`{"error":{"class":"GenericError","desc":"JSON parse error"}}`, hello, strings.Repeat("[", 20000),
	} {
		c, s := ready(t)
		done := background(func() {
			s.receive()
			s.send("%s", bad)
		})
		_, err := c.Do(ctx(t), "query-status", nil)
		<-done
		if !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrClosed) {
			t.Errorf("Do() after %.40q = %v; want a protocol error", bad, err)
		}
		if _, again := c.Do(ctx(t), "query-status", nil); !errors.Is(again, ErrClosed) {
			t.Errorf("Do() on an ended connection = %v; want ErrClosed", again)
		}
	}
}

func TestDefect4EventsInTheHandshakeAreKept(t *testing.T) {
	c, s := pair(t)
	done := background(func() {
		s.send(hello)
		r := s.receive()
		s.send("{\"return\":{},\"id\":%s}\r\n{\"event\":\"RESUME\",\"timestamp\":{\"seconds\":5,\"microseconds\":6}}", r.ID)
	})
	if _, err := c.Handshake(ctx(t)); err != nil {
		t.Fatal(err)
	}
	<-done
	e, err := c.Subscribe().Next(ctx(t))
	if err != nil || e.Name != "RESUME" || e.Time.Unix() != 5 {
		t.Errorf("Next() = %v, %v; want RESUME at 5", e, err)
	}
}

func TestDefect5AnEventBeforeTheHandshakesReplyIsNotTheReply(t *testing.T) {
	c, s := pair(t)
	done := background(func() {
		s.send(`{"event":"STOP"}`)
		s.send(hello)
		r := s.receive()
		s.send(`{"event":"RESUME"}`)
		s.send(`{"return":{},"id":%s}`, r.ID)
		s.serve()
	})
	if _, err := c.Handshake(ctx(t)); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"query-status", "query-version"} {
		got, err := c.Do(ctx(t), command, nil)
		if err != nil || string(got) != `"`+command+`"` {
			t.Errorf("Do(%q) = %s, %v; want its own reply", command, got, err)
		}
	}
	c.Close()
	<-done
}

func TestDefect6EventsThatNobodyReadsStopNothing(t *testing.T) {
	c, s := ready(t)
	slow := c.Subscribe() // never read until the end
	done := background(func() {
		for i := range QueueEvents + 1000 {
			s.send(`{"event":"E","data":{"n":%d}}`, i)
		}
		s.serve()
	})
	if _, err := c.Do(ctx(t), "query-status", nil); err != nil {
		t.Errorf("Do() = %v; want nil", err)
	}
	if got := slow.Dropped(); got != 1000 {
		t.Errorf("Dropped() = %d; want 1000", got)
	}
	if e, err := slow.Next(ctx(t)); err != nil || string(e.Data) != `{"n":1000}` {
		t.Errorf("Next() = %s, %v; want the oldest that was kept, 1000", e.Data, err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v; want nil", err)
	}
	<-done
}

func TestDefect6UnreadEventsAreBoundedInBytes(t *testing.T) {
	c, s := ready(t)
	sub := c.Subscribe()
	done := background(func() {
		for range 20 {
			s.send(`{"event":"E","data":%q}`, strings.Repeat("x", 1<<20))
		}
		s.serve()
	})
	if _, err := c.Do(ctx(t), "query-status", nil); err != nil {
		t.Fatal(err)
	}
	if got := sub.Dropped(); got != 17 {
		t.Errorf("Dropped() = %d; want 17 of 20 events over 1 MiB", got)
	}
	c.Close()
	<-done
}

func TestDefect7TheEndIsRecognisable(t *testing.T) {
	c, s := ready(t)
	done := background(func() {
		s.receive()
		s.conn.Close()
	})
	_, err := c.Do(ctx(t), "quit", nil)
	<-done
	if !errors.Is(err, ErrClosed) || !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), "quit: ") {
		t.Errorf("Do() = %v; want quit: ErrClosed because of io.EOF", err)
	}
	<-c.Done()
	if !errors.Is(c.Err(), io.EOF) {
		t.Errorf("Err() = %v; want io.EOF", c.Err())
	}
	if _, err := c.Subscribe().Next(ctx(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Next() = %v; want ErrClosed", err)
	}
}

func TestDefect7AResetIsAnEnd(t *testing.T) {
	c, s := ready(t)
	s.send(`{"event":"SHUTDOWN"}`)
	done := background(func() {
		s.r.ReadByte() // the rest of the command stays unread
		s.conn.Close()
	})
	if _, err := c.Do(ctx(t), "quit", strings.Repeat("x", 10000)); !errors.Is(err, io.EOF) {
		t.Errorf("Do() = %v; want io.EOF", err)
	}
	<-done
	if _, err := c.Do(ctx(t), "quit", nil); !errors.Is(err, io.EOF) {
		t.Errorf("Do() after the end = %v; want io.EOF", err)
	}
	if e, err := c.Subscribe().Next(ctx(t)); err != nil || e.Name != "SHUTDOWN" {
		t.Errorf("Next() = %v, %v; want what QEMU said last", e, err)
	}
}

func TestDefect7AnEndWithinAMessageIsNotAnEnd(t *testing.T) {
	c, s := ready(t)
	s.conn.Write([]byte(`{"event":"SHUT`))
	s.conn.Close()
	<-c.Done()
	if !errors.Is(c.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("Err() = %v; want io.ErrUnexpectedEOF", c.Err())
	}
}

func TestDefect8ErrorsKeepTheirClass(t *testing.T) {
	tests := []struct {
		line string
		want CommandError
		text string
	}{
		{`{"error":{"class":"CommandNotFound","desc":"The command x has not been found"},"id":%s}`,
			CommandError{"x", "CommandNotFound", "The command x has not been found"}, "x: The command x has not been found"},
		{`{"error":{"class":"GenericError","desc":""},"id":%s}`, CommandError{"x", "GenericError", ""}, "x: GenericError"},
	}
	for _, tt := range tests {
		c, s := ready(t)
		done := background(func() { s.send(tt.line, s.receive().ID) })
		_, err := c.Do(ctx(t), "x", nil)
		<-done
		var got *CommandError
		if !errors.As(err, &got) || *got != tt.want || err.Error() != tt.text {
			t.Errorf("Do() = %v; want %q", err, tt.text)
		}
	}
}

func TestDefect9EventsBeforeTheFirstSubscriptionAreKept(t *testing.T) {
	var seen []string
	var mu sync.Mutex
	c, s := observedPair(t, func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, e.Name)
	})
	done := background(func() {
		s.greet()
		s.send(`{"event":"A"}`)
		s.serve()
	})
	if _, err := c.Handshake(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(ctx(t), "after", nil); err != nil {
		t.Fatal(err)
	}
	first, second := c.Subscribe(), c.Subscribe()
	if e, err := first.Next(ctx(t)); err != nil || e.Name != "A" {
		t.Errorf("first.Next() = %v, %v; want A", e, err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := second.Next(over); !errors.Is(err, context.Canceled) {
		t.Errorf("second.Next() = %v, %v; want the context's end", e, err)
	}
	mu.Lock()
	if diff := cmp.Diff([]string{"A"}, seen); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	mu.Unlock()
	c.Close()
	<-done
}

func TestDefect10ALateReplyIsDropped(t *testing.T) {
	c, s := ready(t)
	over, cancel := context.WithCancel(t.Context())
	received := make(chan request, 1)
	done := background(func() { r := s.receive(); received <- r; cancel() })
	if _, err := c.Do(over, "slow", nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do() = %v; want the context's end", err)
	}
	<-done
	slow := <-received
	done = background(func() {
		r := s.receive()
		s.send(`{"return":"late","id":%s}`, slow.ID)
		s.send(`{"return":"mine","id":%s}`, r.ID)
		s.send(`{"return":"again","id":%s}`, r.ID)
		s.serve()
	})
	if got, err := c.Do(ctx(t), "next", nil); err != nil || string(got) != `"mine"` {
		t.Errorf("Do() = %s, %v; want its own reply", got, err)
	}
	if got, err := c.Do(ctx(t), "third", nil); err != nil || string(got) != `"third"` {
		t.Errorf("Do() = %s, %v; want its own reply", got, err)
	}
	c.Close()
	<-done
}

func TestDefect10CommandsOverlap(t *testing.T) {
	c, s := ready(t)
	const n = 50
	done := background(func() {
		var rs []request
		for range n {
			rs = append(rs, s.receive())
		}
		for i := range rs { // answered in the opposite order
			r := rs[n-1-i]
			s.send(`{"return":%s,"id":%s}`, r.Arguments, r.ID)
		}
	})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			got, err := c.Do(ctx(t), "echo", map[string]int{"n": i})
			var v struct{ N int }
			if err != nil || json.Unmarshal(got, &v) != nil || v.N != i {
				t.Errorf("Do(%d) = %s, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	<-done
}

func TestDefect11NewWordsAreNotRefused(t *testing.T) {
	c, s := ready(t)
	done := background(func() {
		s.send(`{"event":"OF_THE_FUTURE","data":{"reason":"host-moved"},"timestamp":{"seconds":-1,"microseconds":-1},"more":1}`)
		s.send(`{"return":{"status":"of-the-future"},"id":%s,"more":{}}`, s.receive().ID)
	})
	got, err := c.Do(ctx(t), "query-status", nil)
	<-done
	if err != nil || string(got) != `{"status":"of-the-future"}` {
		t.Errorf("Do() = %s, %v", got, err)
	}
	if e, err := c.Subscribe().Next(ctx(t)); err != nil || e.Name != "OF_THE_FUTURE" || !e.Time.IsZero() {
		t.Errorf("Next() = %v, %v; want the event without a time", e, err)
	}
}

func TestCloseWakesEverybody(t *testing.T) {
	c, s := ready(t)
	sub := c.Subscribe()
	events := background(func() {
		if _, err := sub.Next(ctx(t)); !errors.Is(err, ErrClosed) {
			t.Errorf("Next() = %v; want ErrClosed", err)
		}
	})
	command := background(func() {
		if _, err := c.Do(ctx(t), "hang", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Do() = %v; want ErrClosed", err)
		}
	})
	s.receive()
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close() = %v; want nil", err)
		}
	}
	<-events
	<-command
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		hello, `{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}`, `{"return":{},"id":1}`,
		`{"error":{"class":"GenericError","desc":"x"},"id":2}`, `{"return":null,"id":1}`, `{`, `{"id":-1,"return":0}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parse(line)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("parse(%q) = %v; want a protocol error", line, err)
			}
			return
		}
		set := 0
		for _, is := range []bool{m.greeting != nil, m.event != nil, m.reply != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Errorf("parse(%q) = %+v; want exactly one kind", line, m)
		}
	})
}
