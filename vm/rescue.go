package vm

import (
	"context"
	"time"

	"github.com/mvmrun/mvm/qemu"
)

const (
	// rescueEvery is how often a guest that has not been heard yet is looked
	// at. A boot under TCG takes 2 to 10 s, on a busy host 20.
	rescueEvery = 20 * time.Second

	// silenceLimit is how many such looks a guest without any sign of trouble
	// is given.
	silenceLimit = 3

	// maxRescues bounds what is tried before the ready limit judges.
	maxRescues = 2
)

// rescue resets a guest that hangs before its first process, which costs
// nothing: nothing of it has run. It is for guests under TCG, whose kernels now
// and then find no clock and hang at their start: see [qemu.WithoutClock].
func (w *watcher) rescue(ctx context.Context) {
	if w.heard || w.ladder != nil || w.rebirth != nil || w.rescues == maxRescues {
		return
	}
	w.looks++
	w.rescueAt = time.After(rescueEvery)
	noClock := qemu.WithoutClock(w.console())
	if !noClock && w.looks < silenceLimit {
		return
	}
	w.rescues++
	w.looks = 0
	why := "its kernel found no clock, which happens on a busy host"
	if !noClock {
		why = "nothing was heard of it"
	}
	w.beginReset(ctx, &rebirth{why: "the guest hangs (" + why + "): resetting it", rescue: true})
}
