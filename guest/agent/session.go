package agent

import (
	"fmt"
	"io"
	"sync"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// A session is one conversation with the host, and the commands it started.
type session struct {
	agent *Agent
	acks  chan struct{} // holds one: the host noted the exit status

	writing sync.Mutex // one frame at a time
	w       io.Writer

	mu       sync.Mutex
	commands map[uint32]*command
	running  sync.WaitGroup
}

// send writes a frame. It blocks while the host does not read, and that is
// what bounds the output waiting here.
func (s *session) send(f handoff.Frame) error {
	b := handoff.AppendFrame(make([]byte, 0, len(f.Payload)+16), f)
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.w.Write(b)
	return err
}

func (s *session) sendJSON(k handoff.Kind, stream uint32, v any) error {
	f, err := handoff.JSON(k, stream, v)
	if err != nil {
		return err
	}
	return s.send(f)
}

// handle does what a frame asks for. An error ends the session.
func (s *session) handle(f handoff.Frame) error {
	switch {
	case f.Kind < handoff.KindExec && f.Stream != 0, f.Kind >= handoff.KindExec && f.Stream == 0:
		return fmt.Errorf("%w: kind %d on stream %d", handoff.ErrProtocol, f.Kind, f.Stream)
	case f.Kind < handoff.KindExec:
		return s.handleGuest(f)
	case f.Kind == handoff.KindExec:
		return s.exec(f)
	}
	return s.handleCommand(f)
}

// handleGuest handles what concerns the guest as a whole.
func (s *session) handleGuest(f handoff.Frame) error {
	switch f.Kind {
	case handoff.KindPoweroff:
		var p handoff.Poweroff
		if err := f.Decode(&p); err != nil {
			return err
		}
		go s.agent.end(p.Reboot) // ends with the guest
		return nil
	case handoff.KindAck:
		select {
		case s.acks <- struct{}{}:
		default: // one is enough
		}
		return nil
	case handoff.KindPing:
		if len(f.Payload) > maxPing {
			return fmt.Errorf("%w: ping of %d bytes", handoff.ErrProtocol, len(f.Payload))
		}
		return s.send(handoff.Frame{Kind: handoff.KindPong, Payload: f.Payload})
	}
	return fmt.Errorf("%w: kind %d is not the host's to send", handoff.ErrProtocol, f.Kind)
}

// maxPing is as handoff.KindPing says.
const maxPing = 64

// handleCommand handles what concerns one command. A command that has just
// ended is no longer known here while the host may still write to it, so that
// frames for an unknown stream are dropped.
func (s *session) handleCommand(f handoff.Frame) error {
	s.mu.Lock()
	c := s.commands[f.Stream]
	s.mu.Unlock()

	switch f.Kind {
	case handoff.KindStdin:
		if c == nil {
			return nil
		}
		return c.stdin.put(f.Payload)
	case handoff.KindCredit:
		n, err := f.Credits()
		if err != nil || c == nil {
			return err
		}
		return c.window.give(n)
	case handoff.KindSignal:
		var sig handoff.Signal
		if err := f.Decode(&sig); err != nil {
			return err
		}
		if c != nil {
			c.signal(sig.Signal)
		}
		return nil
	case handoff.KindResize:
		var size handoff.Size
		if err := f.Decode(&size); err != nil {
			return err
		}
		if c != nil {
			c.resize(size)
		}
		return nil
	case handoff.KindClose:
		if c != nil {
			c.abandon()
		}
		return nil
	}
	return fmt.Errorf("%w: kind %d is not the host's to send", handoff.ErrProtocol, f.Kind)
}

// exec starts a command. What is wrong with the command is the command's
// result; what is wrong with the frame ends the session.
func (s *session) exec(f handoff.Frame) error {
	var e handoff.Exec
	if err := f.Decode(&e); err != nil {
		return err
	}
	s.mu.Lock()
	_, taken := s.commands[f.Stream]
	n := len(s.commands)
	s.mu.Unlock()
	if taken {
		return fmt.Errorf("%w: stream %d is in use", handoff.ErrProtocol, f.Stream)
	}
	if n >= handoff.MaxStreams {
		return fmt.Errorf("%w: more than %d commands at once", handoff.ErrProtocol, handoff.MaxStreams)
	}
	c, err := start(e)
	if err != nil {
		return s.sendJSON(handoff.KindExited, f.Stream, handoff.Exited{Code: codeOf(err), Err: err.Error()})
	}
	s.mu.Lock()
	s.commands[f.Stream] = c
	s.mu.Unlock()
	s.running.Go(func() {
		status := c.run(func(k handoff.Kind, payload []byte) error {
			return s.send(handoff.Frame{Kind: k, Stream: f.Stream, Payload: payload})
		})
		// Forgotten before the host is told: it may start the next one at once.
		s.mu.Lock()
		delete(s.commands, f.Stream)
		s.mu.Unlock()
		_ = s.sendJSON(handoff.KindExited, f.Stream, handoff.Exited{Code: status})
	})
	return nil
}

// killAll ends the commands of a session that is over, and waits for them.
func (s *session) killAll() {
	s.mu.Lock()
	for _, c := range s.commands {
		c.abandon()
	}
	s.mu.Unlock()
	s.running.Wait()
}
