package agent

import (
	"bufio"
	"fmt"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// maxText bounds a text that the guest sends to be shown to a person, in bytes.
const maxText = 64 << 10

const (
	maxRelease = 65 // bytes of uname -r: __NEW_UTS_LEN
	maxTimings = 16 // a guest has four
)

func (c *Client) read() {
	defer c.wg.Done()
	defer close(c.events)
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		f, err := handoff.ReadFrame(r)
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// take acts on one frame. Its error ends the channel.
func (c *Client) take(f handoff.Frame) error {
	if f.Stream != 0 {
		return c.takeStream(f)
	}
	c.mu.Lock()
	greeted := c.greeted
	c.greeted = true
	c.mu.Unlock()
	if !greeted && f.Kind != handoff.KindHello {
		return fmt.Errorf("%w: kind %d before hello", handoff.ErrProtocol, f.Kind)
	}
	var ev Event
	switch f.Kind {
	case handoff.KindHello:
		ev.Hello = new(handoff.Hello)
		if err := f.Decode(ev.Hello); err != nil {
			return err
		}
		ev.Hello.Kernel = ev.Hello.Kernel[:min(len(ev.Hello.Kernel), maxRelease)]
		if v := ev.Hello.Version; v != handoff.Version {
			return fmt.Errorf("%w: the guest speaks version %d, this mvm speaks %d", handoff.ErrProtocol, v, handoff.Version)
		}
	case handoff.KindFailed:
		ev.Failed = new(handoff.Failed)
		if err := f.Decode(ev.Failed); err != nil {
			return err
		}
		ev.Failed.Op = clip(ev.Failed.Op)
		ev.Failed.Err = clip(ev.Failed.Err)
		ev.Failed.Detail = clip(ev.Failed.Detail)
	case handoff.KindReady:
		ev.Ready = new(handoff.Ready)
		if err := f.Decode(ev.Ready); err != nil {
			return err
		}
		if len(ev.Ready.Timings) > maxTimings {
			return fmt.Errorf("%w: %d timings", handoff.ErrProtocol, len(ev.Ready.Timings))
		}
	case handoff.KindExit:
		ev.Exit = new(handoff.Exit)
		if err := f.Decode(ev.Exit); err != nil {
			return err
		}
		if s := ev.Exit.Status; s < 0 || s > 255 {
			return fmt.Errorf("%w: exit status %d", handoff.ErrProtocol, s)
		}
	case handoff.KindPong:
		c.mu.Lock()
		if ch, ok := c.pongs[string(f.Payload)]; ok {
			delete(c.pongs, string(f.Payload))
			close(ch)
		}
		c.mu.Unlock()
		return nil
	default:
		return fmt.Errorf("%w: kind %d for the guest as a whole", handoff.ErrProtocol, f.Kind)
	}
	select {
	case c.events <- ev:
	default:
		return fmt.Errorf("%w: more than %d events that nobody could have caused", handoff.ErrProtocol, eventBacklog)
	}
	if ev.Exit != nil {
		// Only now: an ack promises that the status will be passed on.
		c.mu.Lock()
		c.acks++
		c.mu.Unlock()
		c.wake()
	}
	return nil
}

func (c *Client) takeStream(f handoff.Frame) error {
	c.mu.Lock()
	s := c.sessions[f.Stream]
	known := f.Stream < c.next
	c.mu.Unlock()
	if s == nil {
		if known {
			return nil // a command that this side has closed already
		}
		return fmt.Errorf("%w: stream %d was never opened", handoff.ErrProtocol, f.Stream)
	}
	switch f.Kind {
	case handoff.KindStdout:
		return s.take(&s.stdout, f.Payload)
	case handoff.KindStderr:
		return s.take(&s.stderr, f.Payload)
	case handoff.KindCredit:
		n, err := f.Credits()
		if err != nil {
			return err
		}
		return s.earn(n)
	case handoff.KindExited:
		var e handoff.Exited
		if err := f.Decode(&e); err != nil {
			return err
		}
		if e.Code < 0 || e.Code > 255 {
			return fmt.Errorf("%w: exit code %d", handoff.ErrProtocol, e.Code)
		}
		e.Err = clip(e.Err)
		c.forget(f.Stream)
		s.finish(e)
		return nil
	}
	return fmt.Errorf("%w: kind %d for a command", handoff.ErrProtocol, f.Kind)
}

func (c *Client) forget(id uint32) {
	c.mu.Lock()
	delete(c.sessions, id)
	c.mu.Unlock()
}

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}
