package qmpconn

import (
	"context"
	"sync"
)

// Limits of one subscriber's unread events. Beyond them the oldest is dropped:
// the last thing that QEMU says is why it ends.
const (
	QueueEvents = 4096
	QueueBytes  = 4 << 20
)

// A Subscription is a queue of events. It is filled whether or not anybody
// reads, and never holds up the connection. Close it when done.
type Subscription struct {
	conn *Conn

	mu      sync.Mutex
	queue   []Event
	bytes   int
	dropped uint64
	ended   bool
	wake    chan struct{} // holds one token: the queue or ended has changed
}

func newSubscription(c *Conn) *Subscription {
	return &Subscription{conn: c, wake: make(chan struct{}, 1)}
}

// Subscribe returns the events from now on. The first subscription also has
// those since the connection began.
func (c *Conn) Subscribe() *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.backlog
	if s == nil {
		s = newSubscription(c)
	}
	c.backlog = nil
	c.subs[s] = struct{}{}
	select {
	case <-c.ended:
		s.finish()
	default:
	}
	return s
}

// Close ends the subscription. Next then returns what is left and after that
// an error that matches [ErrClosed].
func (s *Subscription) Close() {
	s.conn.mu.Lock()
	delete(s.conn.subs, s)
	s.conn.mu.Unlock()
	s.finish()
}

// Next returns the next event. Events that were queued before the connection's
// end are still returned; after them the error matches [ErrClosed].
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		e, ok, ended := s.take()
		switch {
		case ok:
			return e, nil
		case ended:
			return Event{}, s.closed()
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// Dropped returns how many events were lost because nobody read them in time.
func (s *Subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

func (s *Subscription) take() (e Event, ok, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return e, false, s.ended
	}
	e = s.pop()
	if len(s.queue) > 0 || s.ended {
		s.signal() // another reader may be waiting
	}
	return e, true, false
}

func (s *Subscription) pop() Event {
	e := s.queue[0]
	s.queue[0] = Event{}
	s.queue = s.queue[1:]
	s.bytes -= len(e.Data)
	return e
}

func (s *Subscription) closed() error {
	s.signal() // for the next reader
	if err := s.conn.Err(); err != nil {
		return err
	}
	return &closedError{}
}

func (s *Subscription) put(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.queue = append(s.queue, e)
	s.bytes += len(e.Data)
	for len(s.queue) > QueueEvents || s.bytes > QueueBytes && len(s.queue) > 1 {
		s.pop()
		s.dropped++
	}
	s.signal()
}

func (s *Subscription) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.signal()
}

// signal wakes one reader. A token that is already there will do.
func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// publish queues e for every subscriber, or for the first that will come.
func (c *Conn) publish(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.backlog != nil {
		c.backlog.put(e)
	}
	for s := range c.subs {
		s.put(e)
	}
}
