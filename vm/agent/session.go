package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// A Session is one command in the guest. Standard output and standard error
// must both be read to their end, and Close must be called.
type Session struct {
	c  *Client
	id uint32

	mu     sync.Mutex
	cond   *sync.Cond
	stdout stream
	stderr stream
	window int // bytes of standard input that the guest will still take
	owed   int // bytes read here and not yet credited to the guest
	exited chan struct{}
	exit   handoff.Exited
	err    error // why the session ended without an exit
	over   bool
}

// A stream is data from the guest that was not read yet.
type stream struct {
	buf []byte
	eof bool
}

// Start runs a command in the guest.
func (c *Client) Start(ctx context.Context, e handoff.Exec) (*Session, error) {
	if len(e.Argv) == 0 && !e.Login {
		return nil, errors.New("no command to run")
	}
	s := &Session{c: c, window: handoff.Window, exited: make(chan struct{})}
	s.cond = sync.NewCond(&s.mu)

	c.mu.Lock()
	switch {
	case c.err != nil:
		c.mu.Unlock()
		return nil, c.closedErr()
	case len(c.sessions) >= handoff.MaxStreams:
		c.mu.Unlock()
		return nil, fmt.Errorf("%d commands run in the guest already, no more are allowed", handoff.MaxStreams)
	}
	s.id = c.next
	c.next++
	c.sessions[s.id] = s
	c.mu.Unlock()

	f, err := handoff.JSON(handoff.KindExec, s.id, e)
	if err == nil {
		err = c.send(ctx, f)
	}
	if err != nil && !s.ran() {
		c.forget(s.id)
		return nil, fmt.Errorf("exec in the guest: %w", err)
	}
	return s, nil
}

// ran reports whether the command has ended by itself. One that ends at once
// can do so, and the channel with it, before the frame that starts it is known
// to be written.
func (s *Session) ran() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over && s.err == nil
}

// Stdout and Stderr return what the command writes. Reading is what lets the
// guest write more.
func (s *Session) Stdout() io.Reader { return reader{s, &s.stdout} }

// Stderr is empty for a command on a terminal.
func (s *Session) Stderr() io.Reader { return reader{s, &s.stderr} }

// WriteStdin sends all of p to the command's standard input, waiting while the
// guest has no room.
func (s *Session) WriteStdin(ctx context.Context, p []byte) (int, error) {
	defer context.AfterFunc(ctx, s.broadcast)()
	n := 0
	for n < len(p) {
		s.mu.Lock()
		for s.window == 0 && !s.over && ctx.Err() == nil {
			s.cond.Wait()
		}
		m := min(len(p)-n, s.window, handoff.MaxData)
		over := s.over
		s.window -= m
		s.mu.Unlock()
		switch {
		case over:
			return n, io.ErrClosedPipe
		case ctx.Err() != nil:
			return n, context.Cause(ctx)
		}
		f := handoff.Frame{Kind: handoff.KindStdin, Stream: s.id, Payload: p[n : n+m]}
		if err := s.c.send(ctx, f); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// CloseStdin is end of file for the command.
func (s *Session) CloseStdin(ctx context.Context) error {
	return s.c.send(ctx, handoff.Frame{Kind: handoff.KindStdin, Stream: s.id})
}

// Resize changes the size of the command's terminal.
func (s *Session) Resize(ctx context.Context, size handoff.Size) error {
	return s.control(ctx, handoff.KindResize, size)
}

// Signal sends a signal to the command's process group.
func (s *Session) Signal(ctx context.Context, sig int) error {
	return s.control(ctx, handoff.KindSignal, handoff.Signal{Signal: sig})
}

func (s *Session) control(ctx context.Context, k handoff.Kind, v any) error {
	f, err := handoff.JSON(k, s.id, v)
	if err != nil {
		return err
	}
	return s.c.send(ctx, f)
}

// Wait returns how the command ended. Its output may still have to be read.
func (s *Session) Wait(ctx context.Context) (handoff.Exited, error) {
	select {
	case <-s.exited:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.exit, s.err
	case <-ctx.Done():
		return handoff.Exited{}, context.Cause(ctx)
	}
}

// Close kills the command if it still runs and drops what was not read.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if over {
		return nil
	}
	s.c.forget(s.id)
	s.fail(ErrClosed)
	return s.c.send(ctx, handoff.Frame{Kind: handoff.KindClose, Stream: s.id})
}

// take stores data from the guest.
func (s *Session) take(st *stream, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case st.eof:
		return fmt.Errorf("%w: data after end of file", handoff.ErrProtocol)
	case len(p) == 0:
		st.eof = true
	case len(s.stdout.buf)+len(s.stderr.buf)+s.owed+len(p) > handoff.Window:
		return fmt.Errorf("%w: more than %d bytes that were not asked for", handoff.ErrProtocol, handoff.Window)
	default:
		st.buf = append(st.buf, p...)
	}
	s.cond.Broadcast()
	return nil
}

func (s *Session) earn(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window+n > handoff.Window {
		return fmt.Errorf("%w: credit for more than was sent", handoff.ErrProtocol)
	}
	s.window += n
	s.cond.Broadcast()
	return nil
}

func (s *Session) takeOwed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.owed
	s.owed = 0
	return n
}

func (s *Session) finish(e handoff.Exited) { s.close(e, nil) }

func (s *Session) fail(err error) { s.close(handoff.Exited{}, err) }

func (s *Session) close(e handoff.Exited, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over, s.exit, s.err = true, e, err
	s.stdout.eof, s.stderr.eof = true, true
	close(s.exited)
	s.cond.Broadcast()
}

func (s *Session) broadcast() {
	s.mu.Lock()
	s.cond.Broadcast()
	s.mu.Unlock()
}

type reader struct {
	s  *Session
	st *stream
}

func (r reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s := r.s
	s.mu.Lock()
	for len(r.st.buf) == 0 && !r.st.eof {
		s.cond.Wait()
	}
	n := copy(p, r.st.buf)
	rest := copy(r.st.buf, r.st.buf[n:])
	r.st.buf = r.st.buf[:rest]
	s.owed += n
	err := s.err
	s.mu.Unlock()
	if n == 0 {
		if err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	s.c.wake()
	return n, nil
}
