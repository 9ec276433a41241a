package agent

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// An Agent is the guest's side of the channel. Its fields are set before it
// serves, and not changed.
type Agent struct {
	// Ready returns what to report when a session begins.
	Ready func() handoff.Ready

	// PowerOff ends the guest, politely first. It may return; the guest then
	// goes down in its own time.
	PowerOff func(reboot bool)

	// Log receives one line for each thing that went wrong and is not the
	// host's to know. It may be nil.
	Log func(string)

	// Started is called when the first session has begun and the host knows
	// that the guest is ready. It may be nil.
	Started func()

	mu       sync.Mutex
	session  *session // the one being served, or nil
	starting sync.Once
	ending   sync.Once // one power-off is enough
}

func (a *Agent) log(format string, args ...any) {
	if a.Log != nil {
		a.Log(fmt.Sprintf(format, args...))
	}
}

// serveForever serves one session after the other, each from the host's
// connecting to the port to its going away.
func (a *Agent) serveForever(p *port, hello bool) error {
	for ; ; hello = false {
		err := a.Serve(p, hello)
		switch {
		case errors.Is(err, handoff.ErrProtocol):
			a.log("%v; waiting for the host to connect anew", err)
			_, err = io.Copy(io.Discard, p.File)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			err = nil
		}
		if err != nil {
			return fmt.Errorf("agent port: %w", err)
		}
		if err := p.Wait(); err != nil {
			return fmt.Errorf("agent port: %w", err)
		}
	}
}

// A Conn is the stream to the host.
type Conn interface {
	io.ReadWriter
	SetWriteDeadline(time.Time) error
}

// Serve holds one session with the host: hello, unless it was said already,
// ready, and then whatever the host asks for, until the stream ends or the
// host breaks a rule. It then kills the commands that the session started and
// waits for them. It always returns an error: io.EOF for an orderly end, one
// that wraps [handoff.ErrProtocol] for a broken rule.
func (a *Agent) Serve(conn Conn, hello bool) error {
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	s := &session{agent: a, w: conn, commands: make(map[uint32]*command), acks: make(chan struct{}, 1)}
	if !hello {
		f, err := Hello()
		if err != nil {
			return err
		}
		if err := s.send(f); err != nil {
			return err
		}
	}
	if err := s.sendJSON(handoff.KindReady, 0, a.Ready()); err != nil {
		return err
	}
	a.setSession(s)
	if a.Started != nil {
		a.starting.Do(a.Started)
	}
	defer func() {
		a.setSession(nil)
		// Whoever is still writing is to stop now, and not when the next
		// session's host reads.
		_ = conn.SetWriteDeadline(past)
		s.killAll()
	}()
	for {
		f, err := handoff.ReadFrame(conn)
		if err != nil {
			return err
		}
		if err := s.handle(f); err != nil {
			return err
		}
	}
}

func (a *Agent) setSession(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session = s
}

// end powers the guest off, once.
func (a *Agent) end(reboot bool) {
	a.ending.Do(func() { a.PowerOff(reboot) })
}

// exit tells the host the guest's exit status and returns true when the host
// has noted it, or false when it has not within the limit.
func (a *Agent) exit(status int, limit time.Duration) bool {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if s == nil {
		return false
	}
	// Not in this goroutine: the host may not be reading. It ends when the
	// host reads, or with the session's stream.
	go func() {
		if err := s.sendJSON(handoff.KindExit, 0, handoff.Exit{Status: status}); err != nil {
			a.log("tell the host the exit status: %v", err)
		}
	}()
	select {
	case <-s.acks:
		return true
	case <-time.After(limit):
		return false
	}
}
