package state

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func machine(t *testing.T) Machine {
	dir := t.TempDir()
	m := Dirs{State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run")}.Machine("myvm")
	if err := m.Make(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLockIsHeldOnce(t *testing.T) {
	m := machine(t)
	l, err := m.Lock()
	if err != nil {
		t.Fatal(err)
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteIdentity(self); err != nil {
		t.Fatal(err)
	}
	var running *RunningError
	if _, err := m.Lock(); !errors.As(err, &running) || running.PID != os.Getpid() {
		t.Errorf("second Lock() = %v; want a RunningError with process %d", err, os.Getpid())
	}
	if on, err := m.Running(); !on || err != nil {
		t.Errorf("Running() = %v, %v; want true", on, err)
	}
	waited := make(chan error, 1)
	go func() { waited <- m.Wait() }()
	select {
	case err := <-waited:
		t.Errorf("Wait() = %v while the lock is held", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("Wait() = %v after the release; want nil", err)
	}
	if on, err := m.Running(); on || err != nil {
		t.Errorf("after the release Running() = %v, %v; want false", on, err)
	}
	l, err = m.Lock()
	if err != nil {
		t.Errorf("Lock() after the release = %v", err)
	}
	l.Release()
}

func TestIdentityIsNotFooledByAReusedPID(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	reused, rebooted := self, self
	reused.StartTime++
	rebooted.BootID = "00000000-0000-0000-0000-000000000000"
	for _, tt := range []struct {
		name string
		id   Identity
		want bool
	}{{"itself", self, true}, {"same pid, started later", reused, false}, {"same pid, other boot", rebooted, false}} {
		if got := tt.id.Alive(); got != tt.want {
			t.Errorf("%s: Alive() = %v; want %v", tt.name, got, tt.want)
		}
	}
	if !self.OfThisBoot() || !reused.OfThisBoot() || rebooted.OfThisBoot() {
		t.Error("OfThisBoot() does not tell a process of this boot from one of another")
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !child.Alive() {
		t.Error("Alive() of a running child = false")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if child.Alive() {
		t.Error("Alive() of a reaped child = true")
	}
}

func TestStartTimeSurvivesOddCommandNames(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, name := range []string{"(sleep)", "(a b)", "(a) S 1 (b)", "())"} {
		if got, err := startTime([]byte("12 " + name + rest)); got != 4711 || err != nil {
			t.Errorf("startTime with the name %s = %d, %v; want 4711", name, got, err)
		}
	}
	for _, bad := range []string{"", "12 (sleep", "12 (sleep) S 1 2"} {
		if got, err := startTime([]byte(bad)); err == nil {
			t.Errorf("startTime(%q) = %d; want an error", bad, got)
		}
	}
}

func TestDirectoriesArePrivate(t *testing.T) {
	m := machine(t)
	if err := os.Chmod(m.State, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Make(); err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(m.State); fi.Mode().Perm() != 0o700 {
		t.Errorf("mode is %v; want 0700", fi.Mode().Perm())
	}
	if os.Getuid() != 0 {
		t.Fatal("this test gives a directory away; run it as root")
	}
	if err := os.Chown(m.State, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	var owner *OwnerError
	if err := m.Make(); !errors.As(err, &owner) || owner.Owner != 65534 {
		t.Errorf("Make() in a directory of user 65534 = %v; want an OwnerError", err)
	}
}

func TestWriteFileLeavesNothingBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, s := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(path); string(b) != "two" {
		t.Errorf("file holds %q; want %q", b, "two")
	}
	if err := WriteFile(filepath.Join(dir, "no", "f"), nil); err == nil {
		t.Error("WriteFile in a missing directory = nil")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d entries; want 1", len(entries))
	}
}
