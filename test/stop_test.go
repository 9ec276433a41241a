package test_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

// TestStopAtAnyMoment: from the first moment to the last, a signal ends the
// machine, mvm says so once, and nothing is left.
func TestStopAtAnyMoment(t *testing.T) {
	h := host(t)
	definition := define(t, h, "moments", "")
	place := h.Dirs().Machine("moments")
	for _, moment := range []struct {
		name string
		text string        // what mvm says before
		more time.Duration // how long after
	}{
		{name: "while it moves in"}, // as soon as mvm can be told at all
		{name: "when QEMU starts", text: "runs as process"},
		{name: "while the kernel starts", text: "runs as process", more: 300 * time.Millisecond},
		{name: "while modules load", text: "runs as process", more: 1200 * time.Millisecond},
		{name: "when it is ready", text: "ready after"},
	} {
		v := h.Start(definition)
		if moment.text != "" {
			v.Await(moment.text)
			time.Sleep(moment.more)
		} else {
			for _, err := os.Stat(place.IdentityFile()); err != nil; _, err = os.Stat(place.IdentityFile()) {
				time.Sleep(time.Millisecond)
			}
		}
		v.Signal(syscall.SIGTERM)
		e := v.Wait()
		if e.Code != 0 || strings.Count(e.Stderr, ": stopped") != 1 || len(errorsOf(e.Stderr)) != 0 {
			t.Errorf("SIGTERM %s: mvm ended with %d; want 0, one word that it stopped, and no error:\n%s", moment.name, e.Code, e.Stderr)
		}
		if _, err := os.Stat(place.Runtime); err == nil {
			t.Errorf("SIGTERM %s: %s is left", moment.name, place.Runtime)
		}
	}
}

// TestStopFromAnotherProcess: mvm stop shows what it tries and returns when all
// is gone, and the guest's init had its chance to end well.
func TestStopFromAnotherProcess(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "ended", ""))
	v.WaitReady()
	if e := h.Mvm("stop", "nonesuch"); e.Code != 103 || !strings.Contains(e.Stderr, "mvm: error: nonesuch: not running\n") {
		t.Errorf("mvm stop of another machine = %d, %q; want 103 and an error", e.Code, e.Stderr)
	}
	v.AwaitOutput("Hello") // the guest's init runs
	stop := h.Mvm("stop", "ended")
	if stop.Code != 0 || !strings.Contains(stop.Stderr, "mvm: ended: stopped\n") || stop.Stdout != "" {
		t.Errorf("mvm stop = %d; want 0 and a last line \"stopped\":\n%s", stop.Code, stop.Stderr)
	}
	if _, err := os.Stat(h.Dirs().Machine("ended").Runtime); err == nil {
		t.Error("mvm stop returned before the run-time directory was gone")
	}
	if e := v.Wait(); e.Code != 0 || !strings.Contains(e.Stdout, "Sent SIGTERM to all processes") {
		t.Errorf("mvm run = %d; want 0 and a guest that ended by its init:\n%s", e.Code, e.Stdout)
	}
	if e := h.Mvm("stop", "ended"); e.Code != 103 {
		t.Errorf("second mvm stop = %d; want 103\n%s", e.Code, e.Stderr)
	}
}

// TestStopOfADeafGuest: one that does not power off when it is asked to is
// forced when stopTimeout is over, or as soon as it is asked a second time.
func TestStopOfADeafGuest(t *testing.T) {
	for _, tt := range []struct {
		name, timeout string
		signals       int
	}{
		{"stopTimeout", "3s", 1},
		{"second signal", "1h", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			v := h.Start(define(t, h, "deaf", "kernelParams = [\"myvm.hang\"]\nstopTimeout = \""+tt.timeout+"\""))
			v.WaitReady()
			// The agent is this shell's parent. What is stopped hears nothing.
			v.Exec("sh", "-c", "(sleep 3; kill -STOP $PPID; echo now deaf >/dev/console) >/dev/null 2>&1 &")
			v.AwaitOutput("now deaf")
			v.Signal(syscall.SIGTERM)
			v.Await("asked to stop by SIGTERM")
			if tt.signals > 1 {
				v.Signal(syscall.SIGTERM)
			}
			checkEnd(t, v.Wait(), 124,
				"error: the guest did not power off when asked to; .* ended it",
				"hint: raise stopTimeout if it only needs longer")
		})
	}
}

// TestSecondRunOfAMachine: the second is told by whom it runs, and harms nothing.
func TestSecondRunOfAMachine(t *testing.T) {
	h := host(t)
	definition := define(t, h, "once", "")
	v := h.Start(definition)
	v.WaitReady()
	second := h.Mvm("run", definition)
	checkEnd(t, second, 102,
		"error: once: runs already, process [0-9]+",
		"hint: mvm ps shows what runs; mvm stop ends it")
	if v.Status().State != control.Ready || v.Exec("echo", "alive") != "alive\n" {
		t.Error("the first run was harmed by the second")
	}
	table := h.Mvm("ps")
	lines := strings.Split(table.Stdout, "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NAME ") || !strings.HasPrefix(lines[1], "once ") || !strings.Contains(lines[1], " ready ") {
		t.Errorf("mvm ps = %q; want a head and a ready machine", table.Stdout)
	}
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
}
