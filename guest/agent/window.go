package agent

import (
	"fmt"
	"sync"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// A window counts what a command may still send: handoff.Window bytes that are
// free, taken by a reader that has not filled them yet, or sent and not yet
// given back by the host.
type window struct {
	mu   sync.Mutex
	cond *sync.Cond
	free int
	sent int
	shut bool
}

func newWindow() *window {
	w := &window{free: handoff.Window}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// take waits for room and takes at most n bytes of it. It returns 0 once the
// window is shut.
func (w *window) take(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.free == 0 && !w.shut {
		w.cond.Wait()
	}
	if w.shut {
		return 0
	}
	n = min(n, w.free)
	w.free -= n
	return n
}

// use says that of what was taken, used bytes will be sent and the rest not.
func (w *window) use(taken, used int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent += used
	w.free += taken - used
	w.cond.Broadcast()
}

// give takes n bytes back from the host. The host cannot give back what it
// was not sent.
func (w *window) give(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > w.sent {
		return fmt.Errorf("%w: credit for %d bytes, and %d were sent", handoff.ErrProtocol, n, w.sent)
	}
	w.sent -= n
	w.free += n
	w.cond.Broadcast()
	return nil
}

// close wakes whoever waits; there is no more room ever.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	w.cond.Broadcast()
}
