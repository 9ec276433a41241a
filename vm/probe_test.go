package vm

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/state"
)

// countingQEMU is the real QEMU behind a program that notes each start.
func countingQEMU(t testing.TB) (path string, starts func() int) {
	t.Helper()
	real, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatalf("%v (install qemu-system-x86)", err)
	}
	dir := t.TempDir()
	path, count := filepath.Join(dir, "qemu"), filepath.Join(dir, "count")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho >>"+count+"\nexec "+real+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, func() int {
		b, err := os.ReadFile(count)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Count(string(b), "\n")
	}
}

func TestQEMUIsAskedOnceWhatItCanDo(t *testing.T) {
	path, starts := countingQEMU(t)
	dirs := state.Dirs{Cache: filepath.Join(t.TempDir(), "cache")}
	file := probeFile(dirs, path)
	ask := func(what string, again bool) {
		t.Helper()
		before := starts()
		c, err := ProbeQEMU(t.Context(), dirs, path)
		if err != nil || !c.HasMachine(qemu.Q35) {
			t.Fatalf("%s: ProbeQEMU() = %+v, %v; want a QEMU that has q35", what, c.Machines, err)
		}
		if asked := starts() > before; asked != again {
			t.Errorf("%s: it is asked: %v; want %v", what, asked, again)
		}
	}
	ask("the first time", true)
	ask("the second time", false)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []string{"", "{", "null", "[]", string(b[:len(b)/2]), `{"format":1,"capabilities":{"path":"` + path + `"}}`,
		strings.Replace(string(b), `"format":1`, `"format":0`, 1), strings.Replace(string(b), path, "/bin/true", 1)} {
		if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		ask("after the file was "+broken[:min(len(broken), 30)], true)
		ask("and then", false)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	ask("after the program was changed", true)
	// No cache is no error: a file is in the way of the directory.
	dirs.Cache = file
	ask("without a cache", true)
}

// TestNothingIsSaidToLackOnTheCachesWord: a module may have been installed.
func TestNothingIsSaidToLackOnTheCachesWord(t *testing.T) {
	path, _ := countingQEMU(t)
	s := &supervisor{o: Options{Dirs: state.Dirs{Cache: t.TempDir()}}}
	m := &qemu.Machine{Balloon: true}
	if err := s.checkQEMU(t.Context(), path, m); err != nil {
		t.Fatal(err)
	}
	file := probeFile(s.o.Dirs, path)
	c, ok := readProbe(file, path)
	if !ok {
		t.Fatal("nothing was kept")
	}
	c.Devices = []string{"none-of-them"}
	b, err := json.Marshal(probed{probeFormat, c})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.checkQEMU(t.Context(), path, m); err != nil {
		t.Errorf("checkQEMU() with an old answer = %v; want nil after a new one", err)
	}
	m.Accel, m.Type = "xen", "isapc-nonesuch"
	var lacking *qemu.HostError
	if err := s.checkQEMU(t.Context(), path, m); !errors.As(err, &lacking) || !strings.Contains(err.Error(), `no machine "isapc-nonesuch", no accelerator "xen"`) {
		t.Errorf("checkQEMU() = %v; want one HostError with both", err)
	}
}

func BenchmarkCheckQEMU(b *testing.B) {
	path, _ := countingQEMU(b)
	s := &supervisor{o: Options{Dirs: state.Dirs{Cache: b.TempDir()}}}
	m := &qemu.Machine{Balloon: true, Drives: []qemu.Drive{{ID: "a", Path: "/a"}}}
	for b.Loop() {
		if err := s.checkQEMU(b.Context(), path, m); err != nil {
			b.Fatal(err)
		}
	}
}
