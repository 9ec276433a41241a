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
	silent := false
	for {
		limited, cancel := context.WithTimeout(ctx, w.s.o.PulseEvery)
		_, err := w.proc.QMP().QueryStatus(limited)
		late := limited.Err() != nil
		cancel()
		if err == nil {
			select {
			case w.beats <- struct{}{}:
			case <-w.exited:
				return
			}
		} else if late && !silent {
			w.s.note("QEMU has not answered for %v", w.s.o.PulseEvery)
		}
		silent = late
		select {
		case <-tick.C:
		case <-w.exited:
			return
		}
	}
}
