package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// ErrClosed is returned for anything asked of a channel that has ended.
var ErrClosed = errors.New("agent channel is closed")

// An Event is something that the guest said of itself. Exactly one field is set.
type Event struct {
	Hello  *handoff.Hello
	Failed *handoff.Failed
	Ready  *handoff.Ready
	Exit   *handoff.Exit
}

// eventBacklog is how many events may wait to be read. A guest says hello once,
// ready or failed once and its exit status once; more than this is a guest that
// floods.
const eventBacklog = 16

// A Client speaks with one guest's agent. It is safe for concurrent use.
type Client struct {
	conn   io.ReadWriteCloser
	events chan Event
	out    chan request  // frames from callers, one at a time
	kick   chan struct{} // buffered 1: there are acks or credits to write
	done   chan struct{} // closed when the channel has ended
	wg     sync.WaitGroup

	mu       sync.Mutex
	err      error
	greeted  bool
	sessions map[uint32]*Session
	next     uint32
	acks     int
	pongs    map[string]chan struct{}
	pings    int
}

type request struct {
	frame   handoff.Frame
	written chan error // buffered 1: the caller may have left
}

// New returns a client on conn and owns it from now on. Close must be called.
func New(conn io.ReadWriteCloser) *Client {
	c := &Client{
		conn:     conn,
		events:   make(chan Event, eventBacklog),
		out:      make(chan request),
		kick:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		sessions: make(map[uint32]*Session),
		pongs:    make(map[string]chan struct{}),
		next:     1,
	}
	c.wg.Add(2)
	go c.read()
	go c.write()
	return c
}

// Events delivers what the guest says of itself, in order. It is closed when
// the channel ends.
func (c *Client) Events() <-chan Event { return c.events }

// Done is closed when the channel has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil while the channel lives, [io.EOF] or ErrClosed after an ordinary
// end, and otherwise what the guest did wrong.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the channel and waits for its goroutines. Commands that still run
// in the guest are abandoned.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.wg.Wait()
	return nil
}

// Poweroff asks the guest to end by itself. It returns when the request is on
// its way, not when the guest is gone.
func (c *Client) Poweroff(ctx context.Context, reboot bool) error {
	f, err := handoff.JSON(handoff.KindPoweroff, 0, handoff.Poweroff{Reboot: reboot})
	if err != nil {
		return err
	}
	return c.send(ctx, f)
}

// Ping returns when the agent has answered.
func (c *Client) Ping(ctx context.Context) error {
	answered := make(chan struct{})
	c.mu.Lock()
	c.pings++
	key := fmt.Sprintf("ping %d", c.pings)
	c.pongs[key] = answered
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pongs, key)
		c.mu.Unlock()
	}()
	if err := c.send(ctx, handoff.Frame{Kind: handoff.KindPing, Payload: []byte(key)}); err != nil {
		return err
	}
	select {
	case <-answered:
		return nil
	case <-c.done:
		return c.closedErr()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end records why the channel is over and wakes everyone. Only the first call
// counts.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	sessions := c.sessions
	c.sessions = nil
	c.mu.Unlock()
	close(c.done)
	c.conn.Close()
	for _, s := range sessions {
		s.fail(c.closedErr())
	}
}

func (c *Client) closedErr() error {
	err := c.Err()
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

// send hands a frame to the writer and waits until it is written. A guest that
// does not read blocks the callers, each for as long as its context allows, and
// nothing else.
func (c *Client) send(ctx context.Context, f handoff.Frame) error {
	r := request{frame: f, written: make(chan error, 1)}
	select {
	case c.out <- r:
	case <-c.done:
		return c.closedErr()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-r.written:
		return err
	case <-c.done:
		return c.closedErr()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write writes until the channel ends. When the other side does not take any more
// it may still have sent something, such as how a command ended, so it is the
// reader that ends the channel; here the error is only passed on.
func (c *Client) write() {
	defer c.wg.Done()
	var buf []byte
	var broken error
	put := func() error {
		if broken == nil {
			_, broken = c.conn.Write(buf)
		}
		return broken
	}
	for {
		select {
		case <-c.done:
			return
		case r := <-c.out:
			buf = handoff.AppendFrame(buf[:0], r.frame)
			r.written <- put()
		case <-c.kick:
			if buf = c.appendOwed(buf[:0]); len(buf) > 0 {
				_ = put()
			}
		}
	}
}

// appendOwed appends the acks and credits that have come due. They are counted,
// not queued, so a guest that earns them and does not read them costs nothing.
func (c *Client) appendOwed(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acks > 0 {
		c.acks = 0
		b = handoff.AppendFrame(b, handoff.Frame{Kind: handoff.KindAck})
	}
	for id, s := range c.sessions {
		if n := s.takeOwed(); n > 0 {
			b = handoff.AppendFrame(b, handoff.Credit(id, n))
		}
	}
	return b
}

func (c *Client) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}
