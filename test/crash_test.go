package test_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// TestKilledSupervisor: QEMU does not outlive mvm, whatever ends mvm; the next
// mvm finds out, says so, cleans up, and can run the machine again.
func TestKilledSupervisor(t *testing.T) {
	h := host(t)
	definition := define(t, h, "killed", `
[[volumes]]
image = "data.img"
size = 16
mountPoint = "/data"`)
	v := h.Start(definition)
	v.WaitReady()
	v.Exec("sh", "-c", "echo kept >/data/file; sync")
	st := v.Status()
	if st.PID != v.PID() || st.State != control.Ready || st.QEMU == 0 || st.ReadyAfter <= 0 {
		t.Fatalf("status = %+v; want a ready machine of process %d", st, v.PID())
	}
	// A pidfd is QEMU and no later process that gets its id.
	qemu, err := unix.PidfdOpen(st.QEMU, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qemu)
	v.Signal(syscall.SIGKILL)
	if e := v.Wait(); e.Code != -1 {
		t.Errorf("mvm run = %d; want -1 after SIGKILL", e.Code)
	}
	awaitExit(t, qemu)

	ps := h.Mvm("ps", "--json")
	if ps.Stdout != "[]\n" || !strings.Contains(ps.Stderr, "mvm: warning: killed: its supervisor, process ") {
		t.Errorf("mvm ps --json = %q; want no machine and a warning that says why:\n%s", ps.Stdout, ps.Stderr)
	}
	if ps := h.Mvm("ps"); strings.Contains(ps.Stdout, "killed") || ps.Stderr != "" {
		t.Errorf("the second mvm ps still speaks of the machine:\n%s%s", ps.Stdout, ps.Stderr)
	}
	again := h.Start(definition, "--", "cat", "/data/file").Wait()
	if again.Code != 0 || again.Stdout != "kept\n" {
		t.Errorf("the next run = %d, %q; want 0 and what was written before the crash", again.Code, again.Stdout)
	}
}

// TestKilledSupervisorWithoutPs: the next run needs nobody to clean up for it,
// and the end before the crash is not taken for this one.
func TestKilledSupervisorWithoutPs(t *testing.T) {
	h := host(t)
	definition := define(t, h, "killed", "")
	if e := h.Start(definition, "--", "true").Wait(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
	v := h.Start(definition)
	v.Await("runs as process")
	v.Signal(syscall.SIGKILL)
	v.Wait()
	if why := h.Mvm("why", "killed"); why.Stdout != "" || !strings.Contains(why.Stderr, "no end is recorded") {
		t.Errorf("mvm why after a crash = %q; want an error that knows of no end:\n%s", why.Stdout, why.Stderr)
	}
	if e := h.Start(definition, "--", "true").Wait(); e.Code != 0 {
		t.Errorf("mvm run after a crash = %d; want 0", e.Code)
	}
}

// TestKilledQEMU: mvm knows at once, and says what it was.
func TestKilledQEMU(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "shot", ""))
	v.WaitReady()
	if err := unix.Kill(v.Status().QEMU, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := v.Wait()
	if e.Code != 122 || !strings.Contains(e.Stderr, "mvm: error: ") || !strings.Contains(e.Stderr, "killed") {
		t.Errorf("mvm run = %d; want 122 and an error that QEMU was killed", e.Code)
	}
}

// TestDeadSupervisorIsFoundOut: whichever command comes first after a crash says
// what has become of the machine and cleans up, whoever has the process id by now.
func TestDeadSupervisorIsFoundOut(t *testing.T) {
	h := host(t)
	self, err := state.Self()
	if err != nil {
		t.Fatal(err)
	}
	reused, rebooted := self, self
	reused.StartTime--
	rebooted.BootID = "00000000-0000-0000-0000-000000000000"
	const crash = "its supervisor, process %d, was killed; its QEMU ended with it, and what it left is removed"
	place := h.Dirs().Machine("dead")
	for _, tt := range []struct {
		left    state.Identity
		command string
		code    int
		want    string
	}{
		{reused, "ps", 0, crash},
		{rebooted, "ps", 0, "the host went down while it ran, and what it left is removed"},
		{reused, "status dead", 103, crash},
		{reused, "stop dead", 103, crash},
		{reused, "kill dead", 103, crash},
		{reused, "wait dead", 103, crash},
		{reused, "events dead", 103, crash},
		{reused, "console dead", 103, crash},
		{reused, "pause dead", 103, crash},
		{reused, "reset dead", 103, crash},
		{reused, "balloon dead 64", 103, crash},
		{reused, "exec dead -- true", 103, crash},
		{reused, "shell dead", 103, crash},
		{reused, "why dead", 1, crash},
		{reused, "top", 0, crash},
	} {
		// What a supervisor leaves that is killed.
		if err := place.Make(); err != nil {
			t.Fatal(err)
		}
		lock, err := place.Lock()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(place.WriteIdentity(tt.left), lock.Release()); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: place.Socket(), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()

		e := h.Mvm(strings.Fields(tt.command)...)
		want := tt.want
		if strings.Contains(want, "%d") {
			want = fmt.Sprintf(want, self.PID)
		}
		if e.Code != tt.code || strings.Count(e.Stderr, "mvm: warning: dead: "+want+"\n") != 1 {
			t.Errorf("mvm %s = %d; want %d and, once, %q:\n%s", tt.command, e.Code, tt.code, want, e.Stderr)
		}
		if strings.Contains(e.Stdout, "dead") {
			t.Errorf("mvm %s takes it for one that runs:\n%s", tt.command, e.Stdout)
		}
		if _, err := os.Stat(place.Runtime); err == nil {
			t.Errorf("mvm %s leaves %s", tt.command, place.Runtime)
		}
	}
}

// awaitExit waits until the process behind a pidfd has ended.
func awaitExit(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 60_000) // against hanging
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("the process lives on: poll = %d, %v", n, err)
		}
		return
	}
}
