package vm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// A rung is one way to end a machine, and how long it is given to work before
// the next is tried.
type rung struct {
	name  string
	grace time.Duration
	apply func(context.Context) error
}

// A climbed rung is one that was tried. Its error says why it did not work, or
// is nil if the machine ended on it.
type climbed struct {
	rung string
	err  error
}

// climb ends a machine: it applies the rungs in order, gives each its grace,
// and returns those it tried as soon as exited is closed. When hurry is closed
// the rungs between are left out and the last is tried at once.
//
// It waits for events only, so a machine that obeys is gone when it is gone and
// not at the next tick. ctx carries values; its end means nothing here, because
// a machine that is being stopped must not be abandoned half-way.
func climb(ctx context.Context, rungs []rung, exited, hurry <-chan struct{}, trying func(rung)) []climbed {
	ctx = context.WithoutCancel(ctx)
	var tried []climbed
	for i := 0; i < len(rungs); i++ {
		r := rungs[i]
		if i == len(rungs)-1 {
			hurry = nil // there is nothing to go on to
		}
		trying(r)
		rctx, cancel := context.WithTimeout(ctx, r.grace)
		applied := make(chan error, 1) // buffered: await may have left
		var wg sync.WaitGroup
		wg.Go(func() { applied <- r.apply(rctx) })
		gone, hurried, err := await(rctx, r, applied, exited, hurry)
		cancel()
		wg.Wait()
		tried = append(tried, climbed{r.name, err})
		if gone {
			return tried
		}
		if hurried {
			i = max(i, len(rungs)-2)
			hurry = nil
		}
	}
	return tried
}

// await waits for one rung to work. A rung that could not even be applied is
// given up at once.
func await(ctx context.Context, r rung, applied chan error, exited, hurry <-chan struct{}) (gone, hurried bool, err error) {
	for {
		select {
		case <-exited:
			return true, false, nil
		case <-hurry:
			return false, true, errors.New("not waited for")
		case err := <-applied:
			if err != nil {
				return false, false, err
			}
			applied = nil
		case <-ctx.Done():
			return false, false, fmt.Errorf("no end within %v", roughly(r.grace))
		}
	}
}

// gentle is the whole ladder, within the definition's stop limit.
func (w *watcher) gentle() []rung {
	return append(w.asking(w.s.c.StopLimit()), w.force()...)
}

// asking is the part of the ladder that asks, within a limit. Most of it is for the
// first rung, which is all that a guest with mvm's agent needs.
func (w *watcher) asking(limit time.Duration) []rung {
	q := w.proc.QMP()
	rungs := []rung{
		{rungAgent, limit * 2 / 3, func(ctx context.Context) error { return w.agent.Poweroff(ctx, false) }},
		{rungButton, limit / 3, func(ctx context.Context) error {
			// Some guests miss the first press while they wake up.
			if err := q.SystemPowerdown(ctx); err != nil {
				return err
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
			return q.SystemPowerdown(ctx)
		}},
	}
	if w.keyboard {
		// For a guest that has no ACPI, and one whose button nobody listens
		// to. What it does then is a reboot, at which it ends.
		rungs[1].grace = limit / 6
		rungs = append(rungs, rung{rungKeys, limit / 6, q.CtrlAltDel})
	}
	return rungs
}

// force is the part of the ladder that asks nobody. QEMU answers quit within
// tens of milliseconds unless it is stuck.
func (w *watcher) force() []rung {
	return []rung{
		{rungQuit, 5 * time.Second, w.proc.QMP().Quit},
		{rungTerm, 2 * time.Second, func(context.Context) error { return w.proc.Signal(syscall.SIGTERM) }},
		{rungKill, 5 * time.Second, func(context.Context) error { return w.proc.Signal(syscall.SIGKILL) }},
	}
}

// roughly is a duration as people say it.
func roughly(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
