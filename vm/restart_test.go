package vm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

func TestRestartPolicies(t *testing.T) {
	one, zero := 1, 0
	exits := []control.Exit{
		{Reason: control.GuestPoweroff},
		{Reason: control.GuestPoweroff, Status: &zero},
		{Reason: control.GuestPoweroff, Status: &one},
		{Reason: control.GuestReboot},
		{Reason: control.GuestPanic},
		{Reason: control.QEMUError},
		{Reason: control.Stopped},
		{Reason: control.Killed},
	}
	for policy, want := range map[string]string{ // y and n, one for each exit
		"never":      "nnnnnnnn",
		"on-reboot":  "nnnynnnn",
		"on-failure": "nnyyyynn",
		"always":     "yyyyyynn",
	} {
		got := ""
		for _, e := range exits {
			r := &restarter{policy: policy}
			if r.again(&e, time.Now()) {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != want {
			t.Errorf("%s: restarts %s; want %s", policy, got, want)
		}
	}
}

func TestAStopBetweenTwoLivesIsAStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &supervisor{restarts: &restarter{policy: "on-failure"}}
	for _, tt := range []struct{ reason, want control.Reason }{
		{control.GuestFailed, control.Stopped},
		{control.GuestPoweroff, control.GuestPoweroff},
	} {
		exit := control.Exit{Reason: tt.reason}
		if s.again(ctx, &exit) || exit.Reason != tt.want {
			t.Errorf("after a stop, again(%s) is true, or leaves %s; want %s", tt.reason, exit.Reason, tt.want)
		}
	}
}

func TestRestartsAreLimited(t *testing.T) {
	now := time.Now()
	r := &restarter{policy: "always", limit: 3, window: time.Minute}
	for i := range 3 {
		if !r.again(&control.Exit{Reason: control.GuestPanic}, now.Add(time.Duration(i)*time.Second)) {
			t.Fatalf("restart %d is refused", i+1)
		}
	}
	e := control.Exit{Reason: control.GuestPanic, Detail: "guest: kernel panic"}
	if r.again(&e, now.Add(30*time.Second)) {
		t.Error("restart 4 within the window is allowed")
	}
	if !strings.HasPrefix(e.Detail, "guest: kernel panic; it was restarted 3 times") || e.Hint == "" {
		t.Errorf("the exit says %q, hint %q; want it to name the limit", e.Detail, e.Hint)
	}
	if !r.again(&control.Exit{Reason: control.GuestPanic}, now.Add(61*time.Second)) {
		t.Error("a restart after the window is refused")
	}
}
