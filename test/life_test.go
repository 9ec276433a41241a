package test_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
)

// want runs mvm, which must end with the code and say what the expression matches
// on standard error.
func want(t *testing.T, h *test.Host, code int, said string, args ...string) test.Ended {
	t.Helper()
	e := h.Mvm(args...)
	if e.Code != code || !regexp.MustCompile(said).MatchString(e.Stderr) {
		t.Errorf("mvm %s = %d, %q; want %d, %s", strings.Join(args, " "), e.Code, e.Stderr, code, said)
	}
	return e
}

// TestLifeInTheBackground: a machine is started, restarted and removed, and what
// is not to happen to it does not.
func TestLifeInTheBackground(t *testing.T) {
	h := newFakeHost(t)
	file := h.define(t, "bg", h.ready, "")
	place := h.Dirs().Machine("bg")
	defer h.Mvm("kill", "bg")
	want(t, h.Host, 1, "bg: nothing is kept of it", "rm", "bg")
	want(t, h.Host, 0, "ready after", "start", "--wait", file)
	first := h.Running()[0]
	want(t, h.Host, 102, "bg: runs already, process", "rm", "bg")

	// A wrong definition is found before the machine is stopped.
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(good)+"vcpu = 0\n")
	want(t, h.Host, 100, "vcpu", "restart", "bg")
	write(t, file, string(good)+"vcpu = 2\n")
	if now := h.Running()[0]; now.PID != first.PID {
		t.Errorf("process %d runs it after a restart that was refused; want %d", now.PID, first.PID)
	}
	want(t, h.Host, 0, "(?s)asking the guest to power off.*ready after", "restart", "--wait", "bg")
	second := h.Running()[0]
	if second.PID == first.PID || second.VCPU != 2 || second.State != control.Ready {
		t.Errorf("after the restart there is %+v; want another one with 2 processors, ready", second)
	}

	top := want(t, h.Host, 0, "^$", "top", "-n", "1").Stdout
	if !regexp.MustCompile(`(?m)^NAME .*\nbg +ready +[0-9]+s +[0-9]+% +[0-9]+ of 256 MiB +[-0-9]`).MatchString(top) {
		t.Errorf("mvm top -n 1 = %q; want a line about bg", top)
	}

	image := write(t, filepath.Join(place.State, "data.img"), "precious")
	want(t, h.Host, 0, "bg: stopped", "stop", "bg")
	want(t, h.Host, 0, "bg: does not run; starting it\n", "restart", file)
	want(t, h.Host, 0, "killed|stopped", "kill", "bg")
	want(t, h.Host, 0, `bg: its volumes stay \(--volumes removes them\):\n  `+image, "rm", "bg")
	if b, err := os.ReadFile(image); string(b) != "precious" {
		t.Errorf("the volume has %q, %v", b, err)
	}
	want(t, h.Host, 0, `bg: removing with what is on them:\n  `+image, "rm", "--volumes", "bg")
	for _, dir := range []string{place.State, place.Runtime} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("mvm rm left %s, %v", dir, err)
		}
	}
}

// TestForegroundIsNotRestarted: it would come back without its terminal.
func TestForegroundIsNotRestarted(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "fg", h.ready, "")
	v.WaitReady()
	want(t, h.Host, 1, `fg: runs in the foreground, as process [0-9]+\nmvm: hint: stop it`, "restart", "fg")
	v.Stop()
}

// TestTimeoutOfStop: a guest that does not listen gets the time that it is given.
func TestTimeoutOfStop(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "deaf", h.ready+"; on system_powerdown answer; on quit silence; sigterm ignore", "stopTimeout = \"10m\"")
	v.WaitReady()
	pid := v.Status().QEMU
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil { // it hears nothing at all
		t.Fatal(err)
	}
	want(t, h.Host, 0, "deaf: it has had its 100ms; forcing it", "stop", "--timeout", "100ms", "deaf")
	if e := v.Wait(); e.Code != 124 && e.Code != 0 {
		t.Errorf("mvm run = %d\n%s", e.Code, e.Stderr)
	}
}

// TestLostRuntimeDirectory: a machine whose control socket somebody removed is
// still known, and stopped.
func TestLostRuntimeDirectory(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "lost", h.ready, "")
	v.WaitReady()
	if err := os.RemoveAll(h.Dirs().Runtime); err != nil {
		t.Fatal(err)
	}
	s := want(t, h.Host, 0, "lost: its supervisor, process [0-9]+, has lost its control socket: somebody removed", "ps")
	if !strings.Contains(s.Stdout, "lost") {
		t.Errorf("mvm ps = %q; want lost in it", s.Stdout)
	}
	want(t, h.Host, 0, "lost: its control socket is gone; asking its supervisor, process [0-9]+, by SIGTERM", "stop", "lost")
	if e := v.Wait(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0\n%s", e.Code, e.Stderr)
	}
	h.nothingLeft(t, "lost")
}

// TestTopOnATerminal: the screen comes, is kept up to date, and goes.
func TestTopOnATerminal(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "seen", h.ready, "")
	v.WaitReady()
	m := openTerminal(t, h.Command("top", "--delay", "100ms"))
	m.await("\x1b[?1049h")
	m.await("1 machine, every 100ms; q leaves")
	m.await("seen")
	m.await("%")
	v.Stop()
	m.await("0 machines")
	m.typeKeys("q")
	m.await("\x1b[?1049l")
	if code := m.wait(); code != 0 {
		t.Errorf("mvm top = %d; want 0", code)
	}
}
