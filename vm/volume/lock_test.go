package volume

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOneWritesOrManyRead: for machines that share a path, and for those that
// come to the same image by another.
func TestOneWritesOrManyRead(t *testing.T) {
	dir := t.TempDir()
	s := Spec{Path: filepath.Join(dir, "img"), Create: true, MiB: 8, FSType: "ext4"}
	writer, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	other := s
	other.Path = filepath.Join(dir, "link")
	if err := os.Symlink(s.Path, other.Path); err != nil {
		t.Fatal(err)
	}
	check := func(s Spec) {
		t.Helper()
		_, err := Open(t.Context(), s)
		if locked := (*LockedError)(nil); !errors.As(err, &locked) || !slices.Contains(locked.PIDs, os.Getpid()) {
			t.Errorf("Open(%+v) = %v; want that process %d uses it", s, err, os.Getpid())
		}
	}
	check(s)
	check(other)
	reader := s
	reader.ReadOnly = true
	check(reader)
	// As QEMU does with what it inherits: that is still the writer's.
	lent, err := writer.File()
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
	check(s)
	lent.Close()

	first, err := Open(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := Open(t.Context(), reader)
	if err != nil {
		t.Errorf("Open() by a second reader = %v", err)
	} else {
		second.Close()
	}
	check(s)
}

// TestQEMUThatIsNotMvms has the image for itself, too.
func TestQEMUThatIsNotMvms(t *testing.T) {
	s := Spec{Path: filepath.Join(t.TempDir(), "img"), Create: true, MiB: 8, FSType: "ext4"}
	if got, err := outcome(t, s); got != Made || err != nil {
		t.Fatalf("Open() = %v, %v; want Made", got, err)
	}
	for _, tt := range []struct {
		theirs []string
		ours   bool // for reading only
		locked bool
	}{
		{nil, false, true},
		{nil, true, true},
		{[]string{"-r"}, false, false}, // it lets others write; a machine would not
		{[]string{"-r"}, true, false},
	} {
		cmd := exec.Command("qemu-io", slices.Concat([]string{"-f", "raw"}, tt.theirs, []string{s.Path})...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v (install qemu-utils)", err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // its prompt
			t.Fatal(err)
		}
		reader := s
		reader.ReadOnly = tt.ours
		v, err := Open(t.Context(), reader)
		if err == nil {
			v.Close()
		}
		if locked := (*LockedError)(nil); errors.As(err, &locked) != tt.locked || tt.locked && !slices.Contains(locked.PIDs, cmd.Process.Pid) {
			t.Errorf("Open(ReadOnly: %v) beside qemu-io %v (process %d) = %v; want locked: %v", tt.ours, tt.theirs, cmd.Process.Pid, err, tt.locked)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestBlockDevice: it keeps its size, and who has it mounted keeps it.
func TestBlockDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "img")
	if got, err := outcome(t, Spec{Path: path, Create: true, MiB: 8, FSType: "ext4"}); got != Made || err != nil {
		t.Fatalf("Open() = %v, %v; want Made", got, err)
	}
	s := Spec{Path: loop(t, path), Create: true, MiB: 16, FSType: "ext4"}
	v, err := Open(t.Context(), s)
	if err != nil || v.Outcome != Found {
		t.Fatalf("Open() = %+v, %v; want Found", v, err)
	}
	const busy = "the host uses the device itself, or another machine does"
	_, err = Open(t.Context(), s)
	checkHostError(t, err, busy, "unmount it")
	v.Close()
	dir := t.TempDir()
	if err := unix.Mount(s.Path, dir, "ext4", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	_, err = Open(t.Context(), s)
	checkHostError(t, err, busy, "unmount it")
}
