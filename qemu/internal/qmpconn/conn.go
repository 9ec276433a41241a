package qmpconn

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Transport carries the protocol. A net.Conn and a pollable *os.File are
// transports.
type Transport interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
}

// A Conn is a QMP connection. Its methods may be called from several
// goroutines.
type Conn struct {
	t       Transport
	observe func(Event)

	greeted chan struct{} // closed once greeting is set
	ended   chan struct{} // closed once the reader has ended and err is set

	writing chan struct{} // holds a token while a command is written

	mu       sync.Mutex
	greeting Greeting
	err      error // why the connection ended
	nextID   uint64
	pending  map[uint64]chan reply
	subs     map[*Subscription]struct{}
	backlog  *Subscription // events before the first Subscribe; nil after it
}

// New takes over t and starts reading it. If observe is not nil, it is called
// with each event before any subscriber has it, in order and from one
// goroutine, which it must not keep.
func New(t Transport, observe func(Event)) *Conn {
	c := &Conn{
		t: t, observe: observe,
		greeted: make(chan struct{}), ended: make(chan struct{}), writing: make(chan struct{}, 1),
		pending: make(map[uint64]chan reply),
		subs:    make(map[*Subscription]struct{}),
	}
	c.backlog = newSubscription(c)
	go c.read()
	return c
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// Err returns nil until Done is closed, and then an error that matches
// [ErrClosed] and holds the reason: io.EOF when QEMU closed its end.
func (c *Conn) Err() error {
	select {
	case <-c.ended:
		return &closedError{c.err}
	default:
		return nil
	}
}

// Close ends the connection and waits until its goroutine has returned. Calls
// under way return an error that matches [ErrClosed].
func (c *Conn) Close() error {
	c.end(errClosedHere)
	err := c.t.Close()
	<-c.ended
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return nil // it was closed before
	}
	return err
}

var errClosedHere = errors.New("by this side")

// Handshake waits for QEMU's greeting and enables commands.
func (c *Conn) Handshake(ctx context.Context) (Greeting, error) {
	select {
	case <-c.greeted:
	case <-c.ended:
		return Greeting{}, fmt.Errorf("QMP greeting: %w", c.Err())
	case <-ctx.Done():
		return Greeting{}, fmt.Errorf("QMP greeting: %w", context.Cause(ctx))
	}
	if _, err := c.Do(ctx, "qmp_capabilities", nil); err != nil {
		return Greeting{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.greeting, nil
}

// Do runs a command and returns what QEMU returned. Args is nil or marshals to
// a JSON object. The error is a [CommandError] if QEMU refused, the context's
// cause if that ended first, or matches [ErrClosed]. An answer that comes after
// the context's end is dropped; whether QEMU acts on the command is then
// unknown.
func (c *Conn) Do(ctx context.Context, command string, args any) (json.RawMessage, error) {
	call, err := c.Begin(ctx, command, args, nil)
	if err != nil {
		return nil, err
	}
	return call.Wait(ctx)
}

// A Call is a command that QEMU has been sent.
type Call struct {
	c       *Conn
	command string
	id      uint64
	answer  chan reply
}

// Begin is the first half of Do: it returns when the command has been sent, so
// that another can follow before the first is answered. QEMU carries them out in
// that order. Wait must be called.
//
// If file is not nil it goes along, for a command as "getfd"; the transport must
// then be a [FileTransport]. The file is duplicated on its way and remains the
// caller's.
func (c *Conn) Begin(ctx context.Context, command string, args any, file *os.File) (*Call, error) {
	id, answer, err := c.expect()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, args, id})
	if err == nil {
		err = c.write(ctx, append(line, '\n'), file)
	}
	if err != nil {
		c.forget(id)
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return &Call{c, command, id, answer}, nil
}

// Wait is the other half of Do, with its errors.
func (call *Call) Wait(ctx context.Context) (json.RawMessage, error) {
	c := call.c
	defer c.forget(call.id)
	select {
	case r := <-call.answer:
		return r.outcome(call.command)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", call.command, context.Cause(ctx))
	case <-c.ended:
		// The answer may have been the last thing to arrive.
		select {
		case r := <-call.answer:
			return r.outcome(call.command)
		default:
			return nil, fmt.Errorf("%s: %w", call.command, c.Err())
		}
	}
}

func (r reply) outcome(command string) (json.RawMessage, error) {
	if r.err != nil {
		r.err.Command = command
		return nil, r.err
	}
	return r.result, nil
}

// expect reserves an id. The channel holds one reply, so the reader never
// waits for the caller.
func (c *Conn) expect() (uint64, chan reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, &closedError{c.err}
	}
	c.nextID++
	answer := make(chan reply, 1)
	c.pending[c.nextID] = answer
	return c.nextID, answer, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// fail ends the connection because of err and returns what callers see.
func (c *Conn) fail(err error) error {
	c.end(err)
	c.t.Close()
	<-c.ended
	return c.Err()
}

// end records the first reason for the end.
func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// read is the one reader. It ends with the connection.
func (c *Conn) read() {
	err := c.readMessages(bufio.NewReader(c.t))
	c.end(err)
	c.t.Close()
	close(c.ended)
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		s.finish()
	}
	if c.backlog != nil {
		c.backlog.finish()
	}
}

func (c *Conn) readMessages(r *bufio.Reader) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		m, err := parse(line)
		if err != nil {
			return err
		}
		if err := c.take(m); err != nil {
			return err
		}
	}
}

func (c *Conn) take(m message) error {
	switch {
	case m.event != nil:
		if c.observe != nil {
			c.observe(*m.event)
		}
		c.publish(*m.event)
		return nil
	case m.greeting != nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		select {
		case <-c.greeted:
			return fmt.Errorf("%w: second greeting", ErrProtocol)
		default:
		}
		c.greeting = *m.greeting
		close(c.greeted)
		return nil
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		if m.reply.id == 0 || m.reply.id > c.nextID {
			return fmt.Errorf("%w: reply to command %d, which was never sent", ErrProtocol, m.reply.id)
		}
		if answer := c.pending[m.reply.id]; answer != nil {
			delete(c.pending, m.reply.id)
			answer <- *m.reply
		}
		return nil
	}
}
