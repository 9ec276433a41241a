package vm

import (
	"context"
	"time"
)

// pulse asks QEMU every [Options.PulseEvery] what it does, and tells the loop
// each time that it has answered: what comes out of the loop then is a sign of
// life of both. It returns when QEMU has ended, which ends its question too.
func (w *watcher) pulse(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // a stop is no reason to be silent
	tick := time.NewTicker(w.s.o.PulseEvery)
	defer tick.Stop()
	for {
		// One question at a time: a QEMU that is slow is not to be buried.
		if _, err := w.proc.QMP().QueryStatus(ctx); err == nil {
			select {
			case w.beats <- struct{}{}:
			case <-w.exited:
				return
			}
		}
		select {
		case <-tick.C:
		case <-w.exited:
			return
		}
	}
}
