package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/console"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// Options say how to run a machine. Only Dirs is required.
type Options struct {
	Dirs state.Dirs

	// Command is run in the guest when it is ready; the guest is powered off
	// when the command has ended, and the command's status becomes the
	// guest's. Nil means that the guest lives for as long as it likes.
	Command *GuestCommand

	// Console is called with the guest's console when QEMU starts, in a
	// goroutine that Run waits for. The hub ends with the guest.
	Console func(*console.Hub)

	// Desktop says that QEMU finds a desktop to open a window on.
	Desktop bool

	// Hurry, when closed, skips what is left of a stop but its last rung.
	Hurry <-chan struct{}

	// Serving is called once the control socket answers.
	Serving func()

	// Event is called for every event, in order, from one goroutine.
	Event func(control.Event)

	// Asked is called once when somebody asks for the machine's end: from then
	// on it is not started again.
	Asked func()

	// Pulse is called every PulseEvery while QEMU runs, if QEMU answers and the
	// supervisor turns. Nil asks QEMU nothing.
	Pulse      func()
	PulseEvery time.Duration

	// Progress is called while the store disk is made.
	Progress func(storedisk.Progress)
}

// A GuestCommand is what to run in a guest, and where its input comes from and its
// output goes. Nil means nothing.
type GuestCommand struct {
	handoff.Exec
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// A supervisor runs one machine, once. Its methods are what the control socket
// may ask for; [Run] is its life.
type supervisor struct {
	c       *Config
	o       Options
	place   state.Machine
	begin   time.Time
	journal *journal
	cancel  context.CancelCauseFunc // a stop was asked for
	emit    sync.Mutex              // keeps events in one order for everyone

	resets   chan *rebirth // orders to the loop
	restarts *restarter
	granted  bool // a restart that has been counted already

	kill     chan struct{} // closed when the machine is to be forced
	killWhy  string        // set before that
	killOnce sync.Once

	mu       sync.Mutex
	status   control.Status
	programs string        // the guest's system's search path
	nets     *networks     // nil before they are made
	agent    *agent.Client // nil before QEMU runs, as are the next three
	hub      *console.Hub
	qmp      *qemu.QMP
	launched *launched
}

var _ control.Machine = (*supervisor)(nil)

// A stopRequest is the cause of a context that ends because somebody asked for
// the machine's end.
type stopRequest struct{ why string }

func (r stopRequest) Error() string { return r.why }

// Stop asks the machine to end.
func (s *supervisor) Stop(why string) { s.cancel(stopRequest{why}) }

// Kill ends the machine without asking the guest.
func (s *supervisor) Kill(why string) {
	s.killOnce.Do(func() { s.killWhy = why; close(s.kill) })
	s.Stop(why)
}

// Console is the guest's console, or nil.
func (s *supervisor) Console() *console.Hub {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hub
}

// Monitor asks QEMU for something.
func (s *supervisor) Monitor(ctx context.Context, o control.Order) error {
	s.mu.Lock()
	q := s.qmp
	s.mu.Unlock()
	if q == nil {
		return fmt.Errorf("the guest is %s: QEMU does not run", s.Status().State)
	}
	switch o.Do {
	case "pause":
		return q.Stop(ctx)
	case "resume":
		return q.Cont(ctx)
	case "reset":
		return s.reset(ctx, q)
	case "balloon":
		return s.c.balloon(ctx, q, o.MiB)
	case "memory":
		return s.c.plug(ctx, q, o.MiB)
	}
	return fmt.Errorf("unknown order %q: want one of %s", o.Do, strings.Join(control.Orders, ", "))
}

// Follow calls f for each event.
func (s *supervisor) Follow(ctx context.Context, f func(control.Event) error) error {
	return s.journal.follow(ctx, f)
}

// Status is the machine as it is now.
func (s *supervisor) Status() control.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Exec starts a command in the guest. Unless it says otherwise it is looked up
// where NixOS has programs, the system's own first: a guest is ready before its
// init has made the links.
func (s *supervisor) Exec(ctx context.Context, e handoff.Exec) (*agent.Session, error) {
	s.mu.Lock()
	a, st, programs := s.agent, s.status.State, s.programs
	s.mu.Unlock()
	if st != control.Ready {
		return nil, fmt.Errorf("the guest is %s, not ready", st)
	}
	e.Env = append([]string{"PATH=" + programs + guestPath}, e.Env...)
	return a.Start(ctx, e)
}

// guestPath is where a guest's programs may be, NixOS's places first.
const guestPath = "/run/wrappers/bin:/run/current-system/sw/bin:" +
	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// programsOf is the search path of the system whose init this is, with a colon
// at its end: NixOS lays out a system with its programs in sw.
func programsOf(init string) string {
	dir := path.Dir(init)
	if path.Dir(dir) != mounts.StorePath {
		return ""
	}
	return path.Join(dir, "sw/bin") + ":"
}

func (s *supervisor) update(f func(*control.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

// enter moves to a state and says why.
func (s *supervisor) enter(st control.State, format string, args ...any) {
	s.update(func(status *control.Status) {
		if status.State != st {
			status.State, status.Since = st, time.Now().Round(0)
		}
	})
	s.say(control.Event{State: st, Message: fmt.Sprintf(format, args...)})
}

// note says something without a change of state.
func (s *supervisor) note(format string, args ...any) {
	s.say(control.Event{State: s.Status().State, Message: fmt.Sprintf(format, args...)})
}

func (s *supervisor) say(e control.Event) {
	s.emit.Lock()
	defer s.emit.Unlock()
	e.Time = time.Now()
	s.journal.add(e)
	if s.o.Event != nil {
		s.o.Event(e)
	}
}

// stopWhy returns why ctx ended: because a stop was asked for, or for its own
// reason.
func stopWhy(ctx context.Context) string {
	err := context.Cause(ctx)
	var r stopRequest
	switch {
	case errors.As(err, &r):
		return r.why
	case err == nil:
		return ""
	}
	return err.Error()
}
