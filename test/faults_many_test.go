package test_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
)

// metric is one of the numbers that a machine's supervisor gives, or -1 if it does
// not answer just now, or has no such number.
func metric(t *testing.T, h *test.Host, name, metric string) float64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.Dirs().Machine(name).Socket())
		},
	}}
	resp, err := client.Get("http://mvm/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, metric+"{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return f
		}
	}
	return -1
}

// TestTwoHundredLives: what one life takes is given back before the next.
func TestTwoHundredLives(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "cat", "on cont exit 0", "restart = \"always\"\nrestartLimit = 0")
	v.Await("runs as process")
	const first, second = 50, 150
	var early, late struct{ fds, goroutines float64 }
	for lives := 0.0; lives < first+second; lives = metric(t, h.Host, "cat", "mvm_restarts_total") {
		fds := metric(t, h.Host, "cat", "mvm_supervisor_open_fds")
		goroutines := metric(t, h.Host, "cat", "mvm_supervisor_goroutines")
		seen := &early
		if lives > second {
			seen = &late
		}
		seen.fds, seen.goroutines = max(seen.fds, fds), max(seen.goroutines, goroutines)
	}
	t.Logf("at most %v descriptors and %v goroutines at first, %v and %v at last", early.fds, early.goroutines, late.fds, late.goroutines)
	// A sample may catch one more or less of what comes and goes.
	if late.fds > early.fds+3 || late.goroutines > early.goroutines+5 {
		t.Errorf("at most %v descriptors and %v goroutines at first, %v and %v at last", early.fds, early.goroutines, late.fds, late.goroutines)
	}
	v.Signal(syscall.SIGTERM)
	if e := v.Wait(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
	h.nothingLeft(t, "cat")
}

// TestRebootLoop: the limit ends it, and says so.
func TestRebootLoop(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "loop", `on cont answer; on cont event SHUTDOWN {"guest":true,"reason":"guest-reset"}; on cont exit 0`,
		"restart = \"always\"\nrestartLimit = 3\nrestartWindow = \"1h\"")
	checkEnd(t, v.Wait(), 120, "error: .*; it was restarted 3 times within 1h0m0s, which is enough", "hint: find out why it ends .*")
	h.nothingLeft(t, "loop")
}

// TestManyAtOnce: ten machines start together, and each is stopped by two at once.
func TestManyAtOnce(t *testing.T) {
	h := newFakeHost(t)
	var vms []*test.VM
	for i := range 10 {
		vms = append(vms, h.start(t, fmt.Sprintf("many%d", i), h.ready, ""))
	}
	for _, v := range vms {
		v.WaitReady()
	}
	if n := len(h.Running()); n != len(vms) {
		t.Errorf("mvm ps lists %d machines; want %d", n, len(vms))
	}
	var wg sync.WaitGroup
	for _, v := range vms {
		for range 2 {
			wg.Go(func() {
				// The second may come when all is over.
				if e := h.Mvm("stop", v.Name); e.Code != 0 && e.Code != 103 {
					t.Errorf("mvm stop %s = %d; want 0 or 103\n%s", v.Name, e.Code, e.Stderr)
				}
			})
		}
	}
	wg.Wait()
	for _, v := range vms {
		if e := v.Wait(); e.Code != 0 {
			t.Errorf("mvm run %s = %d; want 0", v.Name, e.Code)
		}
		h.nothingLeft(t, v.Name)
	}
}

// TestManyRunsOfOne: one of them runs it, the others say who does.
func TestManyRunsOfOne(t *testing.T) {
	h := newFakeHost(t)
	definition := h.define(t, "one", h.ready, "")
	var vms []*test.VM
	for range 5 {
		vms = append(vms, h.Start(definition))
	}
	codes := make(map[int]int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, v := range vms {
		wg.Go(func() {
			e := v.Wait()
			mu.Lock()
			defer mu.Unlock()
			codes[e.Code]++
			if codes[102] == len(vms)-1 && e.Code == 102 {
				for metric(t, h.Host, "one", "mvm_ready_seconds") < 0 {
					time.Sleep(time.Millisecond)
				}
				if stop := h.Mvm("stop", "one"); stop.Code != 0 {
					t.Errorf("mvm stop = %d; want 0\n%s", stop.Code, stop.Stderr)
				}
			}
		})
	}
	wg.Wait()
	if codes[0] != 1 || codes[102] != len(vms)-1 {
		t.Errorf("the runs ended with (code: how many) %v; want one 0 and %d times 102", codes, len(vms)-1)
	}
	h.nothingLeft(t, "one")
}

// TestRunAfterStop: when mvm stop returns, the machine can be run at once.
func TestRunAfterStop(t *testing.T) {
	h := newFakeHost(t)
	definition := h.define(t, "again", h.ready, "")
	for i := range 10 {
		v := h.Start(definition)
		v.WaitReady()
		if e := h.Mvm("stop", "again"); e.Code != 0 {
			t.Fatalf("mvm stop = %d; want 0\n%s", e.Code, e.Stderr)
		}
		next := h.Start(definition)
		next.Await("again: ready after ")
		next.Signal(syscall.SIGTERM)
		if a, b := v.Wait(), next.Wait(); a.Code != 0 || b.Code != 0 {
			t.Fatalf("round %d: the runs ended with %d and %d; want 0\n%s", i, a.Code, b.Code, b.Stderr)
		}
	}
	h.nothingLeft(t, "again")
}

// TestWithoutStreams: mvm needs neither input nor output to run a machine.
func TestWithoutStreams(t *testing.T) {
	h := newFakeHost(t)
	for i, streams := range []string{"<&-", "</dev/null", "<&- >&- 2>&-", "</dev/full >/dev/full 2>/dev/full"} {
		name := fmt.Sprintf("mute%d", i)
		definition := h.define(t, name, h.ready, "")
		cmd := exec.Command("/bin/sh", "-c", `exec "$@" `+streams, "sh", test.Program, "run", definition)
		cmd.Env = append(h.Command().Env, "MUTE=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ready := false
		for end := time.Now().Add(test.Limit); !ready && time.Now().Before(end); {
			ready = metric(t, h.Host, name, `mvm_ready_seconds`) > 0
		}
		if !ready {
			t.Errorf("%s: never ready", streams)
			_ = cmd.Process.Kill()
		} else if e := h.Mvm("stop", name); e.Code != 0 {
			t.Errorf("%s: mvm stop = %d; want 0\n%s", streams, e.Code, e.Stderr)
		}
		if err := cmd.Wait(); err != nil && ready {
			t.Errorf("%s: mvm run: %v", streams, err)
		}
		h.nothingLeft(t, name)
	}
}

// TestRuntimeDirectoryIsGone: somebody cleaned up /run too well. The machine runs
// on, and can be ended by a signal.
func TestRuntimeDirectoryIsGone(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "swept", h.ready, "")
	v.WaitReady()
	if err := os.RemoveAll(h.Dirs().Machine("swept").Runtime); err != nil {
		t.Fatal(err)
	}
	if e := h.Mvm("run", h.define(t, "swept", h.ready, "")); e.Code != 102 {
		t.Errorf("a second mvm run = %d; want 102\n%s", e.Code, e.Stderr)
	}
	v.Signal(syscall.SIGTERM)
	if e := v.Wait(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0\n%s", e.Code, e.Stderr)
	}
	h.nothingLeft(t, "swept")
}

// TestStoppedSupervisor: one that does not answer is not taken for gone, holds up
// no list, and goes on when it may.
func TestStoppedSupervisor(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "frozen", h.ready, "")
	v.WaitReady()
	v.Signal(syscall.SIGSTOP)
	e := h.Mvm("ps", "--json")
	if !strings.Contains(e.Stdout, `"unknown"`) || !strings.Contains(e.Stderr, "mvm: warning: frozen: its supervisor, process "+strconv.Itoa(v.PID())+", does not answer") {
		t.Errorf("mvm ps = %d; want an unknown state and a warning\n%s%s", e.Code, e.Stdout, e.Stderr)
	}
	v.Signal(syscall.SIGCONT)
	if s := v.Status(); s.State != control.Ready {
		t.Errorf("it is %s when it goes on; want ready", s.State)
	}
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
	h.nothingLeft(t, "frozen")
}

// TestFullDisk: a machine whose state cannot be written runs and ends all the same,
// and says what is missing.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("a small file system must be mounted: run this test as root")
	}
	h := newFakeHost(t)
	place := h.Dirs().Machine("full")
	if err := os.MkdirAll(place.State, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", place.State, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(place.State, 0); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	filler := strings.Repeat("console "+strings.Repeat("x", 1000)+"; ", 90)
	v := h.start(t, "full", filler+h.ready, "")
	v.WaitReady()
	v.AwaitOutput(strings.Repeat("x", 1000))
	e := v.Stop()
	if e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
	for _, want := range []string{"the console's log is incomplete: ", "the exit could not be recorded: ", "no space left on device"} {
		if !strings.Contains(e.Stderr, want) {
			t.Errorf("mvm does not say %q:\n%s", want, e.Stderr)
		}
	}
	if n := strings.Count(e.Stdout, strings.Repeat("x", 1000)); n != 90 {
		t.Errorf("%d lines of 90 came through", n)
	}
	h.nothingLeft(t, "full")
}
