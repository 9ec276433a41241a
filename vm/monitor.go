package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
)

const (
	// greetLimit is how long QEMU may take to answer at all. It takes 50 ms,
	// and has been seen to take seconds on a host that swaps.
	greetLimit = time.Minute

	// greetLeast is what it gets even if the guest has less time to be ready,
	// which counts from its answer.
	greetLeast = 5 * time.Second

	// hangUpGrace is how much earlier than its end QEMU may close its monitor.
	hangUpGrace = time.Second

	// orphanStop is how long a guest may take to power off whose QEMU cannot
	// tell that it has.
	orphanStop = 10 * time.Second
)

// A program is QEMU as it is to be started.
type program struct {
	binary  string
	machine qemu.Machine
	cred    *syscall.Credential // nil for this process's own user
	monitor *os.File            // listens for other programs; nil if there is none
}

// launch starts QEMU. The exit is for one that starts and is of no use; the error
// is for a host that cannot start one.
func (s *supervisor) launch(ctx context.Context, p program, h *helpers) (*qemu.Process, *control.Exit, error) {
	o := qemu.StartOptions{Binary: p.binary, Dir: "/", Files: h.files, Credential: p.cred}
	if s.c.NamesProcess() {
		o.Argv0 = "microvm@" + p.machine.Name
	}
	limit := greetLimit
	if ready := s.c.ReadyLimit(); ready > 0 {
		limit = min(limit, max(ready, greetLeast))
	}
	silent := fmt.Errorf("no answer on QMP within %v", limit)
	limited, cancel := context.WithTimeoutCause(ctx, limit, silent)
	defer cancel()
	proc, err := qemu.Start(limited, p.machine, o)
	var (
		host   *qemu.HostError
		ending *qemu.ExitError
	)
	switch {
	case err == nil:
		return proc, nil, nil
	case stopWhy(ctx) != "" && errors.Is(err, context.Cause(ctx)):
		return nil, &control.Exit{Reason: control.Stopped}, nil
	case errors.Is(err, silent), errors.Is(err, qemu.ErrClosed) && !errors.As(err, &host) && !errors.As(err, &ending):
		return nil, &control.Exit{Reason: control.QEMUError, Detail: err.Error(), Hint: qemuHint}, nil
	}
	return nil, nil, err
}

// qemuHint is for a QEMU that does not speak QMP as it should.
const qemuHint = "mvm argv NAME shows what was started: check that it is QEMU, and not a script that swallows its descriptors"

// cont lets the guest run. It is asked for beside the loop, which must turn even
// if QEMU does not answer.
func (w *watcher) cont(ctx context.Context) {
	w.started = make(chan error, 1)
	w.wg.Go(func() {
		err := w.waitForWord(ctx)
		if err == nil {
			err = w.proc.QMP().Cont(ctx)
		}
		w.started <- err
	})
}

// contAnswered ends a machine whose guest could not be started.
func (w *watcher) contAnswered(ctx context.Context, err error) {
	w.started = nil
	if err == nil || ctx.Err() != nil || w.ladder != nil || errors.Is(err, qemu.ErrClosed) {
		return // if the monitor is gone, that is the news
	}
	w.facts.monitorErr = fmt.Errorf("start the guest: %w", err)
	w.s.enter(control.Stopping, "the guest could not be started: %v", err)
	w.climb(w.force())
}

// hungUp is called when QEMU has closed its monitor or broken the protocol. It
// does the former when it ends, so it is given a moment for that.
func (w *watcher) hungUp() {
	w.closed = nil
	w.lost = time.After(hangUpGrace)
}

// monitorLost ends a machine that nobody can look after any more. The guest may
// still hear its agent.
func (w *watcher) monitorLost() {
	if w.ladder != nil {
		return
	}
	w.facts.monitorErr = fmt.Errorf("QEMU is out of control: %w", w.proc.QMP().Err())
	w.s.enter(control.Stopping, "%v", w.facts.monitorErr)
	if w.facts.ready {
		// QEMU may wait for a word when the guest has powered off, and none
		// can reach it.
		w.climb(append(w.asking(orphanStop), w.force()...))
	} else {
		w.climb(w.force())
	}
}
