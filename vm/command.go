package vm

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/control"
)

// lostGrace is how much later than its agent QEMU may end and still be why a
// command was lost.
const lostGrace = 200 * time.Millisecond

// A commandResult is how the command that a machine was started for has ended.
type commandResult struct {
	exited handoff.Exited
	err    error
}

func (w *watcher) runCommand(ctx context.Context) commandResult {
	c := w.s.o.Command
	session, err := w.s.Exec(ctx, c.Exec)
	if err != nil {
		return commandResult{err: err}
	}
	exited, err := session.Run(ctx, c.Stdin, c.Stdout, c.Stderr)
	return commandResult{exited, err}
}

// commandEnded makes the command's status the guest's, and ends the guest.
func (w *watcher) commandEnded(r commandResult) {
	switch {
	case w.facts.stopWhy != "":
		return // it was stopped with the machine
	case errors.Is(r.err, syscall.EPIPE):
		// Whoever read its output has seen enough: what ends a command at home.
		status := 128 + int(syscall.SIGPIPE)
		w.facts.status, r.exited.Code = &status, status
	case isOutput(r.err):
		status := 1
		w.facts.status, r.exited.Code, w.facts.outputErr = &status, status, r.err
	case r.err != nil:
		w.commandLost(r.err)
		return
	default:
		if w.facts.status == nil { // else the guest has the last word
			w.facts.status = &r.exited.Code
		}
		w.facts.commandText = harmless([]byte(r.exited.Err))
	}
	if w.ladder != nil || w.facts.commandDone {
		return
	}
	w.facts.commandDone = true
	w.s.enter(control.Stopping, "the command ended with status %d", r.exited.Code)
	w.climb(w.gentle())
}

// isOutput reports whether it is this host's fault that a command was lost.
func isOutput(err error) bool {
	_, ok := errors.AsType[*agent.OutputError](err)
	return ok
}

// commandLost ends a guest whose command's status will never be known. A guest
// that ends takes its command with it, so it is given a moment to turn out to
// have ended: then there is nobody to ask for anything.
func (w *watcher) commandLost(err error) {
	w.facts.commandErr = fmt.Errorf("%s: %w", w.s.o.Command.Argv[0], err)
	select {
	case <-w.exited:
		return
	case <-time.After(lostGrace):
	}
	if w.ladder != nil || w.facts.commandDone {
		return
	}
	w.facts.commandDone = true
	w.s.enter(control.Stopping, "the command was lost: %v", err)
	if w.facts.ready {
		w.climb(w.gentle())
	} else { // it was reset
		w.climb(w.force())
	}
}
