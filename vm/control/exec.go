package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
)

// upgradeProto is what an exec request upgrades its connection to: the frames
// of package handoff, with the server in the agent's part and stream 1 as the
// only stream. So the asking side is an ordinary [agent.Client].
const upgradeProto = "mvm-agent"

func (h handler) exec(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != upgradeProto {
		http.Error(w, "exec needs the header Upgrade: "+upgradeProto, http.StatusUpgradeRequired)
		return
	}
	if s := h.m.Status().State; s != Ready {
		http.Error(w, fmt.Sprintf("the guest is %s, not ready", s), http.StatusConflict)
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{})
	if err := switchProtocols(buf, upgradeProto); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	newProxy(conn, bufio.NewReader(buf)).run(ctx, h.m)
}

// A proxy plays the agent for one connection and one command.
type proxy struct {
	conn net.Conn
	in   *bufio.Reader

	writing sync.Mutex // held while a frame is written

	mu     sync.Mutex // for what follows
	cond   *sync.Cond
	window int    // bytes of output that the client will still take
	stdin  []byte // not yet with the guest; at most a window
	eof    bool   // the client has closed standard input
	gone   bool   // the client, or the command

	signals []int         // not yet with the guest; at most maxSignals
	size    *handoff.Size // the last that the client asked for, likewise
}

// maxSignals is how many signals may be on their way to a guest that does not
// listen. A person sends three.
const maxSignals = 16

func newProxy(conn net.Conn, in *bufio.Reader) *proxy {
	p := &proxy{conn: conn, in: in, window: handoff.Window}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *proxy) run(ctx context.Context, m Machine) {
	hello, _ := handoff.JSON(handoff.KindHello, 0, handoff.Hello{Version: handoff.Version})
	if p.write(hello) != nil {
		return
	}
	f, err := handoff.ReadFrame(p.in)
	if err != nil || f.Kind != handoff.KindExec || f.Stream != 1 {
		return
	}
	var e handoff.Exec
	if f.Decode(&e) != nil {
		return
	}
	s, err := m.Exec(ctx, e)
	if err != nil {
		p.exited(handoff.Exited{Code: 126, Err: err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		p.leave()
		closeCtx, done := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer done()
		_ = s.Close(closeCtx)
		p.conn.Close()
		wg.Wait()
	}()
	wg.Go(func() { p.pumpStdin(ctx, s) })
	wg.Go(func() { p.pumpControl(ctx, s) })
	wg.Go(func() {
		// When the client is gone, nobody wants the command any more. Whatever
		// waits for a guest that does not read is to stop waiting.
		p.readClient()
		cancel()
		closeCtx, done := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer done()
		_ = s.Close(closeCtx)
	})
	var out sync.WaitGroup
	out.Go(func() { p.pump(handoff.KindStdout, s.Stdout()) })
	out.Go(func() { p.pump(handoff.KindStderr, s.Stderr()) })
	out.Wait()
	exit, err := s.Wait(ctx)
	if err != nil {
		exit = handoff.Exited{Code: 126, Err: err.Error()}
	}
	p.exited(exit)
}

// closeLimit is how long a guest may take to hear that a command is not wanted
// any more.
const closeLimit = 2 * time.Second

// readClient takes what the client sends until it leaves or breaks a rule. It
// waits for nobody else: only so is a client's leaving noticed.
func (p *proxy) readClient() {
	defer p.leave()
	for {
		f, err := handoff.ReadFrame(p.in)
		if err != nil || f.Stream != 1 {
			return
		}
		switch f.Kind {
		case handoff.KindStdin:
			if !p.queueStdin(f.Payload) {
				return
			}
		case handoff.KindCredit:
			n, err := f.Credits()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.window = min(p.window+n, handoff.Window)
			p.cond.Broadcast()
			p.mu.Unlock()
		case handoff.KindSignal:
			var sig handoff.Signal
			if f.Decode(&sig) != nil || !p.queueControl(func() { p.signals = append(p.signals, sig.Signal) }) {
				return
			}
		case handoff.KindResize:
			var size handoff.Size
			if f.Decode(&size) != nil || !p.queueControl(func() { p.size = &size }) {
				return
			}
		default:
			return
		}
	}
}

// leave wakes everyone who waits for the client or the command.
func (p *proxy) leave() {
	p.mu.Lock()
	p.gone = true
	p.cond.Broadcast()
	p.mu.Unlock()
}

// queueStdin reports whether the client kept within its window.
func (p *proxy) queueStdin(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.eof || len(p.stdin)+len(b) > handoff.Window {
		return false
	}
	p.stdin = append(p.stdin, b...)
	p.eof = len(b) == 0
	p.cond.Broadcast()
	return true
}

// queueControl reports whether the client keeps within reason.
func (p *proxy) queueControl(put func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	put()
	p.cond.Broadcast()
	return len(p.signals) <= maxSignals
}

// pumpControl passes signals and sizes on.
func (p *proxy) pumpControl(ctx context.Context, s *agent.Session) {
	for {
		p.mu.Lock()
		for len(p.signals) == 0 && p.size == nil && !p.gone {
			p.cond.Wait()
		}
		signals, size, gone := p.signals, p.size, p.gone
		p.signals, p.size = nil, nil
		p.mu.Unlock()
		if gone {
			return
		}
		if size != nil && s.Resize(ctx, *size) != nil {
			return
		}
		for _, sig := range signals {
			if s.Signal(ctx, sig) != nil {
				return
			}
		}
	}
}

func (p *proxy) pumpStdin(ctx context.Context, s *agent.Session) {
	for {
		p.mu.Lock()
		for len(p.stdin) == 0 && !p.eof && !p.gone {
			p.cond.Wait()
		}
		b, gone := p.stdin[:min(len(p.stdin), handoff.MaxData)], p.gone
		p.mu.Unlock()
		switch {
		case gone:
			return
		case len(b) == 0:
			_ = s.CloseStdin(ctx)
			return
		}
		if _, err := s.WriteStdin(ctx, b); err != nil {
			return // the command has ended or closed its input
		}
		p.mu.Lock()
		p.stdin = append([]byte(nil), p.stdin[len(b):]...)
		p.mu.Unlock()
		if p.write(handoff.Credit(1, len(b))) != nil {
			return
		}
	}
}

// pump sends what r yields within the client's window, then end of file.
func (p *proxy) pump(k handoff.Kind, r io.Reader) {
	buf := make([]byte, handoff.MaxData)
	for {
		n, err := r.Read(buf)
		for sent := 0; sent < n; {
			p.mu.Lock()
			for p.window == 0 && !p.gone {
				p.cond.Wait()
			}
			m := min(n-sent, p.window)
			gone := p.gone
			p.window -= m
			p.mu.Unlock()
			if gone {
				return
			}
			if p.write(handoff.Frame{Kind: k, Stream: 1, Payload: buf[sent : sent+m]}) != nil {
				return
			}
			sent += m
		}
		if err != nil {
			_ = p.write(handoff.Frame{Kind: k, Stream: 1})
			return
		}
	}
}

func (p *proxy) exited(e handoff.Exited) {
	f, err := handoff.JSON(handoff.KindExited, 1, e)
	if err == nil {
		_ = p.write(f)
	}
}

func (p *proxy) write(f handoff.Frame) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	// A client that stopped reading is dropped, not waited for.
	_ = p.conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
	_, err := p.conn.Write(handoff.AppendFrame(nil, f))
	return err
}

// Exec starts a command in the guest through the machine's supervisor. Closing
// the returned client ends the command.
func (c *Client) Exec(ctx context.Context, e handoff.Exec) (*agent.Client, *agent.Session, error) {
	conn, err := c.upgrade(ctx, http.MethodPost, "/v1/exec", upgradeProto)
	if err != nil {
		return nil, nil, err
	}
	ac := agent.New(conn)
	s, err := ac.Start(ctx, e)
	if err != nil {
		return nil, nil, errors.Join(err, ac.Close())
	}
	return ac, s, nil
}

// switchProtocols tells the client that the connection speaks proto from now on.
func switchProtocols(buf *bufio.ReadWriter, proto string) error {
	fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", proto)
	return buf.Flush()
}

// switchTo asks for another protocol on conn.
func switchTo(ctx context.Context, conn net.Conn, method, path, proto string) (*http.Response, *bufferedConn, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://mvm"+path, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", proto)
	if err := req.Write(conn); err != nil {
		return nil, nil, err
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, nil, err
	}
	return resp, &bufferedConn{Conn: conn, r: br}, nil
}

// bufferedConn reads first what came with the response's headers.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func apiError(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	var e struct{ Error string }
	if json.Unmarshal(b, &e) == nil && e.Error != "" {
		return errors.New(e.Error)
	}
	return fmt.Errorf("%s", trimLine(b))
}
