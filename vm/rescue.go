package vm

import (
	"context"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
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

// rescueTimer is for guests under TCG, whose kernels now and then find no clock
// and hang at their start: see [qemu.WithoutClock]. Elsewhere it never fires.
func (w *watcher) rescueTimer() *time.Timer {
	t := time.NewTimer(rescueEvery)
	if w.s.Status().Accel != string(qemu.TCG) {
		t.Stop()
	}
	return t
}

// rescue resets a guest that hangs before its first process, which costs
// nothing: nothing of it has run. It reports whether to look again.
func (w *watcher) rescue(ctx context.Context) bool {
	if w.heard || w.ladder != nil || w.rescues == maxRescues {
		return false
	}
	w.looks++
	noClock := w.hub != nil && qemu.WithoutClock(w.hub.Tail())
	if !noClock && w.looks < silenceLimit {
		return true
	}
	w.rescues++
	w.looks = 0
	why := "its kernel found no clock, which happens on a busy host"
	if !noClock {
		why = "nothing was heard of it"
	}
	w.s.say(control.Event{State: control.Booting, Message: "the guest hangs (" + why + "): resetting it"})
	ctx, cancel := context.WithTimeout(ctx, rescueEvery/2)
	defer cancel()
	if err := w.proc.QMP().ResetAnyway(ctx); err != nil {
		w.s.note("the guest could not be reset: %v", err)
	}
	return true
}
