package test_test

import (
	"syscall"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// TestFaultsOfGuests: what a real guest does to itself is told by its name.
func TestFaultsOfGuests(t *testing.T) {
	// The reset line of the keyboard's controller is what a triple fault is to
	// QEMU, and a kernel says as much about it: nothing. It needs /dev/port, which
	// the cloud kernel has not.
	const pullReset = `exec 2>/dev/null; sleep 1; printf '\376' | dd of=/dev/port bs=1 seek=100`
	tests := []struct {
		name, more string
		command    []string
		act        func(*testing.T, *test.Host, *test.VM)
		code       int
		want       []string
	}{
		{name: "its command uses up all memory", command: []string{"--", "sh", "-c", "echo 1000 >/proc/self/oom_score_adj; tail /dev/zero"}, code: 137, want: []string{
			"error: guest: out of memory: its kernel killed (tail|sh)",
			"hint: raise mem, or look at the console for what used it up",
		}},
		{name: "its kernel gives up for memory",
			command: []string{"--", "sh", "-c", "sysctl -w vm.panic_on_oom=1; tail /dev/zero"}, code: 121, want: []string{
				"error: guest: kernel panic: Out of memory: .*panic_on_oom.*",
				"hint: raise mem, or look at the console for what used it up",
			}},
		{name: "its processor gives up", more: kernelFor(t, "9p"), act: func(t *testing.T, h *test.Host, v *test.VM) {
			v.WaitReady()
			_ = h.Command("exec", v.Name, "--", "sh", "-c", pullReset).Run() // it is lost with the guest
		}, code: 121, want: []string{
			"error: guest: it was reset without a word from its kernel, as by a triple fault",
			"hint: look at the console for the last that it did",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			v := h.Start(define(t, h, "broken", tt.more), tt.command...)
			if tt.act != nil {
				tt.act(t, h, v)
			}
			checkEnd(t, v.Wait(), tt.code, tt.want...)
		})
	}
}

// TestStoppedVirtiofsd: a share that does not answer holds up whoever uses it, and
// may hold up the guest's end, but not the machine's.
func TestStoppedVirtiofsd(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "stopped", "stopTimeout = \"3s\"\n"+share("virtiofs", "src", h.Dir, "/src")))
	v.WaitReady()
	daemon := child(t, v.PID(), "virtiofsd")
	if err := syscall.Kill(daemon, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v.Exec("sh", "-c", "ls /src >/dev/null 2>&1 &")
	v.Signal(syscall.SIGTERM)
	switch e := v.Wait(); e.Code {
	case 0: // the guest did not wait for its share
		checkEnd(t, e, 0)
	default:
		checkEnd(t, e, 124, "error: the guest did not power off when asked to; .* ended it", "hint: raise stopTimeout.*")
	}
}

// TestLivesOfARealGuest: what a reset takes, and what a new QEMU takes, is given
// back before the next.
func TestLivesOfARealGuest(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "lived", "restart = \"always\"\nrestartLimit = 0\n"+share("virtiofs", "src", h.Dir, "/src")))
	v.WaitReady()
	events := follow(t, h, "lived")
	events.ready()
	type taken struct{ fds, goroutines float64 }
	measure := func() taken {
		return taken{metric(t, h, "lived", "mvm_supervisor_open_fds"), metric(t, h, "lived", "mvm_supervisor_goroutines")}
	}
	first := measure()
	for i := range *rounds {
		if e := h.Mvm("reset", "lived"); e.Code != 0 {
			t.Fatalf("mvm reset = %d; want 0\n%s", e.Code, e.Stderr)
		}
		events.ready()
		reset := measure()
		if err := syscall.Kill(statusOf(t, h, "lived").QEMU, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		events.ready()
		restarted := measure()
		// A measurement may catch one more or less of what comes and goes.
		for what, now := range map[string]taken{"reset": reset, "restart": restarted} {
			if now.fds > first.fds+2 || now.goroutines > first.goroutines+4 {
				t.Errorf("after %s %d: %+v; want what it took at first, %+v", what, i+1, now, first)
			}
		}
	}
	if s := statusOf(t, h, "lived"); s.Restarts != *rounds {
		t.Errorf("%d restarts; want %d", s.Restarts, *rounds)
	}
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
}
