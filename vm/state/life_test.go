package state

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets this program be another process that holds a machine's lock: it
// says so and holds it until its input ends.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STATE_TEST_LOCK"); dir != "" {
		place := Dirs{State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run")}.Machine("myvm")
		if _, err := place.Lock(); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("locked\n")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holder is another process that holds m's lock, until the returned function is
// called.
func holder(t *testing.T, m Machine) (pid int, release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STATE_TEST_LOCK="+filepath.Dir(filepath.Dir(m.State)))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return cmd.Process.Pid, func() {
		in.Close()
		_ = cmd.Wait()
	}
}

func TestAMachineWithoutARuntimeDirectoryIsFound(t *testing.T) {
	m := machine(t)
	dirs := Dirs{State: filepath.Dir(m.State), Runtime: filepath.Dir(m.Runtime)}
	pid, release := holder(t, m)
	if err := os.RemoveAll(m.Runtime); err != nil {
		t.Fatal(err)
	}
	if names, err := dirs.Names(); err != nil || !cmp.Equal(names, []string{"myvm"}) {
		t.Errorf("Names() = %v, %v; want myvm", names, err)
	}
	if id, err := m.Supervisor(); err != nil || id.PID != pid || !id.Alive() {
		t.Errorf("Supervisor() = %+v, %v; want process %d, alive", id, err, pid)
	}
	var running *RunningError
	if _, err := m.Lock(); !errors.As(err, &running) || running.PID != pid {
		t.Errorf("Lock() = %v; want a RunningError with process %d", err, pid)
	}
	release()
	if names, err := dirs.Names(); err != nil || names != nil {
		t.Errorf("Names() after its end = %v, %v; want none", names, err)
	}
	if names, err := dirs.Known(); err != nil || !cmp.Equal(names, []string{"myvm"}) {
		t.Errorf("Known() = %v, %v; want myvm", names, err)
	}
	if id, err := m.Supervisor(); err != nil || id.Alive() {
		t.Errorf("Supervisor() after its end = %+v, %v; want one that is not alive", id, err)
	}
}

func TestAwaitSeesTheSocketAndTheEnd(t *testing.T) {
	m := machine(t)
	there := func() bool { _, err := os.Stat(m.Socket()); return err == nil }
	if ok, err := m.Await(t.Context(), there); ok || err != nil {
		t.Errorf("Await() of nobody = %v, %v; want false", ok, err)
	}
	_, release := holder(t, m)
	for _, remove := range []bool{false, true} {
		if remove { // the directory comes later, too
			if err := os.RemoveAll(m.Runtime); err != nil {
				t.Fatal(err)
			}
		}
		asked := 0
		ok, err := m.Await(t.Context(), func() bool {
			if asked++; asked == 1 { // only now, so that it must be waited for
				if err := os.MkdirAll(m.Runtime, 0o700); err != nil {
					t.Error(err)
				}
				if err := os.WriteFile(m.Socket(), nil, 0o600); err != nil {
					t.Error(err)
				}
				return false
			}
			return there()
		})
		if !ok || err != nil || asked < 2 {
			t.Errorf("Await() = %v, %v after %d questions; want true", ok, err, asked)
		}
	}
	ok, err := m.Await(t.Context(), func() bool { release(); release = func() {}; return false })
	if ok || err != nil {
		t.Errorf("Await() of one that ends = %v, %v; want false", ok, err)
	}
	_, release = holder(t, m)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if ok, err := m.Await(ctx, func() bool { return false }); ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await() with a deadline = %v, %v; want it", ok, err)
	}
}

func TestRemoveKeepsVolumesUnlessTheyAreToGo(t *testing.T) {
	m := machine(t)
	lock, err := m.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(m.GCRoots(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{m.ConsoleLog(), m.ConsoleLog() + ".1", m.LastExit(), m.Events(), filepath.Join(m.State, ".exit.json.123"),
		filepath.Join(m.GCRoots(), "1"), m.Socket(), filepath.Join(m.State, "data.img")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(m.State, "data.img")
	if got, err := m.Volumes(); err != nil || !cmp.Equal(got, []string{image}) {
		t.Errorf("Volumes() = %v, %v; want %s", got, err, image)
	}
	if err := m.Remove(false); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(m.State)
	if err != nil || len(entries) != 1 || entries[0].Name() != "data.img" {
		t.Errorf("after Remove(false) there is %v, %v; want data.img", entries, err)
	}
	// Who has the old file open is not fooled by it.
	second, err := m.Lock()
	if err != nil {
		t.Fatalf("Lock() of a new file = %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(true); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{m.State, m.Runtime} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Remove(true) there is %s, %v", dir, err)
		}
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
}
