//go:build hostguest

package test_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/control"
)

// TestClockJumps runs in the guest of TestHostInAGuest, whose clock is nobody
// else's: mvm's limits, and the order of what happened, do not depend on the time
// of day.
func TestClockJumps(t *testing.T) {
	h := inside(t)
	h.Env = []string{"FAKEQEMU_SCRIPT=agent silent"}
	const fake = "readyTimeout = \"1h\"\nstopTimeout = \"1h\"\nqemu.package = \"/test/fakeqemu\"\n"
	boots := h.Start(defineInside(t, h, "boots", fake))
	boots.Await(" runs as process ")
	h.Env = []string{"FAKEQEMU_SCRIPT=agent ready " + write(t, filepath.Join(h.Dir, "mountinfo"), readyMounts)}
	runs := h.Start(defineInside(t, h, "runs", fake))
	runs.WaitReady()
	follower := h.Command("events", "runs")
	var events bytes.Buffer
	follower.Stdout = &events
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	const year = 365 * 24 * time.Hour
	for _, by := range []time.Duration{year, -2 * year} {
		jump(t, by)
		for range 3 { // each a round trip through the loop, and time for a limit to be over
			if a, b := boots.Status().State, runs.Status().State; a != control.Booting || b != control.Ready {
				t.Errorf("after a jump by %v the machines are %s and %s; want booting and ready", by, a, b)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	if e := runs.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0\n%s", e.Code, e.Stderr)
	}
	if e := boots.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0\n%s", e.Code, e.Stderr)
	}
	jump(t, year)
	if err := follower.Wait(); err != nil {
		t.Error(err)
	}
	var last time.Time
	for line := range bytes.Lines(events.Bytes()) {
		var e control.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Time.Before(last) {
			t.Errorf("%q is dated before what came before it", e.Message)
		}
		last = e.Time
	}
	if last.IsZero() {
		t.Error("there were no events")
	}
}

// jump sets the clock.
func jump(t *testing.T, by time.Duration) {
	t.Helper()
	tv := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		t.Fatal(err)
	}
}
