package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/console"
)

// pipes is a listener whose connections a test makes.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// fuzzed is a server for a machine that is ready, which fails the test when one of
// its handlers panics.
func fuzzed(f *testing.F) *pipes {
	host, guest := net.Pipe()
	uart, line := net.Pipe()
	m := &machine{agent: agent.New(host), hub: console.NewHub(line, io.Discard), status: Status{Name: "myvm", State: Ready}, events: make(chan Event)}
	go shout(guest)
	go io.Copy(io.Discard, uart)
	s := serverFor(&willing{m})
	var said bytes.Buffer // net/http survives a panic, and only says so
	s.ErrorLog = log.New(&said, "", 0)
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	served := make(chan struct{})
	go func() { _ = s.Serve(p); close(served) }()
	f.Cleanup(func() {
		s.Close()
		<-served
		m.agent.Close()
		uart.Close()
		if strings.Contains(said.String(), "panic") {
			f.Errorf("the server says:\n%s", said.String())
		}
	})
	return p
}

// A willing machine does whatever it is asked, at once.
type willing struct{ *machine }

func (w *willing) Stop(string) {}
func (w *willing) Kill(string) {}
func (w *willing) Follow(_ context.Context, f func(Event) error) error {
	return f(Event{State: Exited, Exit: &Exit{Reason: Stopped}})
}

// talk sends b on a new connection, hangs up, and returns when the server has too.
func (p *pipes) talk(t *testing.T, b []byte) {
	t.Helper()
	client, server := net.Pipe()
	select {
	case p.conns <- server:
	case <-p.done:
		t.Fatal("the server has ended")
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, client)
	}()
	_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = client.Write(b)
	client.Close()
	<-read
}

// FuzzRequests sends the server what is a request, or nearly.
func FuzzRequests(f *testing.F) {
	for _, r := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: mvm\r\n\r\n",
		"GET /v1/events?follow=0 HTTP/1.0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/monitor HTTP/1.1\r\nHost: mvm\r\nContent-Length: 14\r\n\r\n{\"do\":\"pause\"}",
		"POST /v1/monitor HTTP/1.1\r\nHost: mvm\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"do\"\r\n0\r\n\r\n",
		"GET /v1/console?tail=-1 HTTP/1.1\r\nHost: mvm\r\nConnection: Upgrade\r\nUpgrade: mvm-console\r\n\r\nroot\n",
		"GET /v1/console?tail=99999999999999999999 HTTP/1.1\r\nHost: mvm\r\n\r\n",
		"POST /v1/exec HTTP/1.1\r\nHost: mvm\r\nUpgrade: mvm-agent\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: mvm\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(r))
	}
	p := fuzzed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p.talk(t, b)
		p.answers(t)
	})
}

// FuzzExec sends frames, and what is none, to a command's connection.
func FuzzExec(f *testing.F) {
	frames := func(list ...handoff.Frame) []byte {
		var b []byte
		for _, fr := range list {
			b = handoff.AppendFrame(b, fr)
		}
		return b
	}
	object := func(k handoff.Kind, v any) handoff.Frame {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		return handoff.Frame{Kind: k, Stream: 1, Payload: b}
	}
	start := object(handoff.KindExec, handoff.Exec{Argv: []string{"shout"}})
	in := func(s string) handoff.Frame {
		return handoff.Frame{Kind: handoff.KindStdin, Stream: 1, Payload: []byte(s)}
	}
	f.Add(frames(start, in("hello"), in("")))
	f.Add(frames(start, object(handoff.KindSignal, handoff.Signal{Signal: 2}), object(handoff.KindResize, handoff.Size{Rows: 1}), handoff.Credit(1, 5)))
	f.Add(frames(object(handoff.KindExec, handoff.Exec{Login: true, User: "x", TTY: &handoff.Size{}}), in("x"), in(""), in("after the end")))
	f.Add(frames(start, start))
	f.Add(frames(in("no command")))
	f.Add(frames(handoff.Frame{Kind: handoff.KindPoweroff, Payload: []byte("{}")}))
	p := fuzzed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p.talk(t, append([]byte("POST /v1/exec HTTP/1.1\r\nHost: mvm\r\nConnection: Upgrade\r\nUpgrade: mvm-agent\r\n\r\n"), b...))
		p.answers(t)
	})
}

// FuzzConsole types anything, and then leaves.
func FuzzConsole(f *testing.F) {
	f.Add("16", []byte("root\r"))
	f.Add("-1", []byte{0, 3, 0x1d, 0xff})
	f.Add("%zz", bytes.Repeat([]byte("x"), 100_000))
	p := fuzzed(f)
	f.Fuzz(func(t *testing.T, tail string, b []byte) {
		if strings.ContainsAny(tail, "\r\n ") {
			return // another request: FuzzRequests'
		}
		p.talk(t, append([]byte("GET /v1/console?tail="+tail+" HTTP/1.1\r\nHost: mvm\r\nConnection: Upgrade\r\nUpgrade: mvm-console\r\n\r\n"), b...))
		p.answers(t)
	})
}

// FuzzOrder sends bodies to the monitor, which takes an order or says what is wrong.
func FuzzOrder(f *testing.F) {
	for _, s := range []string{`{"do":"pause"}`, `{"do":"balloon","mib":256}`, `{"do":"balloon","mib":1e400}`, `[]`, `{}{}`, `{"do":` + strings.Repeat(`[`, 1000), "", "null", "\xff"} {
		f.Add([]byte(s))
	}
	m := &machine{status: Status{State: Ready}}
	h := serverFor(m).Handler
	f.Fuzz(func(t *testing.T, b []byte) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/monitor", bytes.NewReader(b)))
		switch w.Code {
		case http.StatusNoContent:
			if o := (Order{}); json.NewDecoder(bytes.NewReader(b)).Decode(&o) != nil || o.Do != "pause" {
				t.Errorf("%q was carried out", b)
			}
		case http.StatusBadRequest, http.StatusConflict:
			if strings.TrimSpace(w.Body.String()) == "" {
				t.Errorf("%q was refused without a word", b)
			}
		default:
			t.Errorf("%q was answered with %d", b, w.Code)
		}
	})
}

// answers fails unless the server still answers a well-behaved client.
func (p *pipes) answers(t *testing.T) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	p.conns <- server
	go io.WriteString(client, "GET /v1/status HTTP/1.1\r\nHost: mvm\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s Status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || s.State != Ready {
		t.Errorf("the machine is %q, %v; want ready", s.State, err)
	}
}
