package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/control"
)

const (
	// resetLimit is how long QEMU may take to reset a machine. It takes 50 ms.
	resetLimit = 10 * time.Second

	// quitGrace is how long a QEMU whose guest has ended may take to end too.
	quitGrace = 5 * time.Second
)

// A rebirth is a guest that is made to start over in the QEMU that it is in: with
// the same helpers, taps and volumes.
type rebirth struct {
	why      string        // said when it begins, unless it is empty
	reboot   *control.Exit // the end that it follows; nil if the guest did not ask for it
	rescue   bool          // the guest was never heard of, and has no more time than it had
	firmware bool          // it completes another, and says nothing
	answer   chan<- error  // buffered for one: who asked for it may have left; or nil
}

// waitForWord makes QEMU stay when its guest ends, so that mvm can look at all
// that the guest has said before it decides whether the machine ends. A QEMU that
// cannot do so ends at once, and a guest that reboots gets a new one.
func (w *watcher) waitForWord(ctx context.Context) error {
	err := w.proc.QMP().KeepHalted(ctx)
	if refused := (*qemu.CommandError)(nil); errors.As(err, &refused) {
		return nil
	}
	w.waits.Store(err == nil)
	return err
}

// halted decides what becomes of a guest that has come to its end.
func (w *watcher) halted(ctx context.Context) {
	if !w.waits.Load() || w.released {
		return // QEMU ends by itself
	}
	if w.hub != nil {
		w.hub.Drain()
	}
	end := w.proc.Ending().Shutdown
	reset := end != nil && end.Reason == "guest-reset"
	if first := w.fresh; first && reset && !w.heard && w.ladder == nil && len(w.console()) == 0 {
		// Not the guest's doing: see [qemu.Process.Reset].
		w.fresh = false
		w.beginReset(ctx, &rebirth{firmware: true})
		return
	}
	w.look()
	if exit := w.facts.judge(); w.ladder == nil && exit.Reason == control.GuestReboot && w.s.again(ctx, &exit) {
		w.beginReset(ctx, &rebirth{why: exitMessage(&exit) + ": resetting the machine", reboot: &exit})
		return
	}
	w.release(ctx)
}

// release lets a QEMU end whose guest has ended.
func (w *watcher) release(ctx context.Context) {
	w.released, w.overdue = true, time.After(quitGrace)
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitGrace)
		defer cancel()
		_ = w.proc.QMP().Quit(ctx) // its end is waited for elsewhere
	})
}

// resetAsked is a request to reset the machine.
func (w *watcher) resetAsked(ctx context.Context, r *rebirth) {
	switch {
	case w.ladder != nil || ctx.Err() != nil:
		r.answer <- errors.New("it is being stopped")
	case w.rebirth != nil:
		r.answer <- errors.New("it is being reset already")
	default:
		w.beginReset(ctx, r)
	}
}

// beginReset resets the machine, beside the loop. What the guest still has to say
// of itself is of no interest.
func (w *watcher) beginReset(ctx context.Context, r *rebirth) {
	w.rebirth, w.events = r, nil
	if r.why != "" {
		w.s.enter(control.Booting, "%s", r.why)
	}
	w.reborn = make(chan error, 1)
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeoutCause(ctx, resetLimit, fmt.Errorf("no answer within %v", resetLimit))
		defer cancel()
		w.reborn <- w.proc.Reset(ctx, func() {
			if w.hub != nil {
				w.hub.Drain()
				w.mark.Store(w.hub.Mark())
			}
		})
	})
}

// resetDone begins the new life of a guest that was reset.
func (w *watcher) resetDone(ctx context.Context, err error) {
	r := w.rebirth
	w.rebirth, w.reborn = nil, nil
	if r.answer != nil {
		r.answer <- err
	}
	switch {
	case w.ladder != nil || ctx.Err() != nil:
		return // it is on its way out
	case err != nil && r.reboot != nil:
		w.s.note("QEMU could not be reset, and is started anew: %v", err)
		w.s.granted = true
		w.release(ctx)
		return
	case err != nil:
		w.facts.monitorErr = fmt.Errorf("reset the machine: %w", err)
		w.s.enter(control.Stopping, "%v", w.facts.monitorErr)
		w.climb(w.force())
		return
	}
	w.agent.Close()
	w.agent = agent.New(w.proc.Agent())
	w.events = w.agent.Events()
	w.s.mu.Lock()
	w.s.agent = w.agent
	w.s.mu.Unlock()
	w.facts, w.heard = facts{}, false
	if r.firmware {
		return
	}
	w.fresh = true
	w.s.update(func(st *control.Status) {
		if r.reboot != nil {
			st.Restarts++
		}
		st.ReadyAfter, st.GuestTimings, st.Mounts, st.Guest = 0, nil, nil, nil
	})
	if !r.rescue {
		w.begin, w.rescues, w.looks = time.Now(), 0, 0
		w.startTimers()
	}
}

// startTimers gives a guest its time to be ready, and to be heard of.
func (w *watcher) startTimers() {
	if limit := w.s.c.ReadyLimit(); limit > 0 {
		w.ready = time.After(limit)
	}
	w.rescueAt = nil
	if w.s.Status().Accel == string(qemu.TCG) {
		w.rescueAt = time.After(rescueEvery)
	}
}

// console is what the guest has written in the life that it is in, or nil.
func (w *watcher) console() []byte {
	if w.hub == nil {
		return nil
	}
	return w.hub.Since(w.mark.Load())
}

// halts tells that the guest has come to its end, but while it is being reset: an
// end before that is none, and one after it can wait.
func (w *watcher) halts() <-chan struct{} {
	if w.rebirth != nil {
		return nil
	}
	return w.proc.Halted()
}

// reset resets the machine when its loop has taken the order.
func (s *supervisor) reset(ctx context.Context, q *qemu.QMP) error {
	answer := make(chan error, 1)
	select {
	case s.resets <- &rebirth{why: "asked to reset it", answer: answer}:
	case <-q.Done():
		return q.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-answer:
		return err
	case <-q.Done():
		return q.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
