package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenMakesEachFileSystemWithItsLabel(t *testing.T) {
	for fsType, label := range map[string]string{
		"ext2": "data", "ext3": "data", "ext4": "sixteen-bytes-ok", "xfs": "data", "btrfs": "data", "vfat": "DATA",
	} {
		t.Run(fsType, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub", "a,b.img")
			s := Spec{Path: path, Create: true, MiB: 320, FSType: fsType, Label: label} // xfs wants 300 MiB
			if got, err := outcome(t, s); got != Made || err != nil {
				t.Fatalf("Open() = %v, %v; want Made", got, err)
			}
			checkBlkid(t, path, fsType, label)
			if fi, _ := os.Stat(path); fi.Size() != 320<<20 || fi.Mode().Perm() != 0o600 {
				t.Errorf("image has %d bytes, mode %v; want 320 MiB, 0600", fi.Size(), fi.Mode().Perm())
			}
			onlyEntry(t, path)
		})
	}
}

// outcome opens an image and closes it again.
func outcome(t *testing.T, s Spec) (Outcome, error) {
	t.Helper()
	v, err := Open(t.Context(), s)
	if err != nil {
		return Found, err
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	return v.Outcome, nil
}

func checkBlkid(t *testing.T, path, fsType, label string) {
	t.Helper()
	out, err := exec.Command("blkid", "-p", "-o", "export", path).CombinedOutput()
	if err != nil {
		t.Fatalf("blkid: %v: %s", err, out)
	}
	for _, want := range []string{"TYPE=" + fsType, "LABEL=" + label} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("blkid says\n%swant %s", out, want)
		}
	}
}

// TestOpenFitsWhatExists: an image can grow, and nothing else is done to it.
func TestOpenFitsWhatExists(t *testing.T) {
	tests := []struct {
		name      string
		has, want int64 // bytes before and after
		spec      Spec
		outcome   Outcome
		err, hint string
	}{
		{"as large as it should be", 8 << 20, 8 << 20, Spec{Create: true, MiB: 8}, Found, "", ""},
		{"smaller", 8<<20 - 512, 16 << 20, Spec{Create: true, MiB: 16}, Grown, "", ""},
		{"larger", 8<<20 + 512, 8<<20 + 512, Spec{Create: true, MiB: 8}, Found, "the image has 9 MiB, and is to have 8", "set size = 9"},
		{"empty", 0, 0, Spec{Create: true, MiB: 8}, Found, "the image is empty", "remove it"},
		{"smaller, and not to be written", 8 << 20, 8 << 20, Spec{Create: true, MiB: 16, ReadOnly: true}, Found, "", ""},
		{"larger, and not to be written", 8 << 20, 8 << 20, Spec{Create: true, MiB: 4, ReadOnly: true}, Found, "", ""},
		{"smaller, and not mvm's", 8 << 20, 8 << 20, Spec{MiB: 16}, Found, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Path, tt.spec.FSType = filepath.Join(t.TempDir(), "img"), "ext4"
			if err := os.WriteFile(tt.spec.Path, []byte("kept")[:min(4, tt.has)], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(tt.spec.Path, tt.has); err != nil {
				t.Fatal(err)
			}
			got, err := outcome(t, tt.spec)
			if got != tt.outcome {
				t.Errorf("Open() = %v; want %v", got, tt.outcome)
			}
			checkHostError(t, err, tt.err, tt.hint)
			b, err := os.ReadFile(tt.spec.Path)
			if int64(len(b)) != tt.want || tt.has > 0 && string(b[:4]) != "kept" || err != nil {
				t.Errorf("the image has %d bytes, %v; want %d, beginning as before", len(b), err, tt.want)
			}
			onlyEntry(t, tt.spec.Path)
		})
	}
}

// checkHostError compares an error's cause, and the beginning of its hint. No
// cause is no error.
func checkHostError(t *testing.T, err error, cause, hint string) {
	t.Helper()
	he := (*HostError)(nil)
	if cause == "" && err != nil || cause != "" && (!errors.As(err, &he) || he.Err.Error() != cause || !strings.HasPrefix(he.Hint, hint)) {
		t.Errorf("Open() = %v; want %q with the hint %q", err, cause, hint)
	}
}

func TestOpenRefusesWhatIsNoImage(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe, os.DevNull} {
		_, err := Open(t.Context(), Spec{Path: path, Create: true, MiB: 8, FSType: "ext4"})
		checkHostError(t, err, "it is neither a file nor a block device", "name another")
	}
	_, err := Open(t.Context(), Spec{Path: filepath.Join(dir, "none")})
	checkHostError(t, err, "no such file or directory", "make the image")
}

// TestSweep: what a maker left that was killed goes, and what one is busy with
// stays, as does what only looks alike.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a*.img")
	busy, err := named(path)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := named(path)
	if err != nil {
		t.Fatal(err)
	}
	dead.f.Close() // as the kernel does for the killed
	others := []string{".a*.img.1.tmp.img", ".ab.img.1.tmp", "a*.img.1.tmp"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := outcome(t, Spec{Path: path, Create: true, MiB: 8, FSType: "ext4"}); got != Made || err != nil {
		t.Fatalf("Open() = %v, %v; want Made", got, err)
	}
	want := append(others, filepath.Base(path), filepath.Base(busy.name))
	slices.Sort(want)
	if diff := cmp.Diff(want, namesIn(t, dir)); diff != "" {
		t.Errorf("the directory holds other files (-want +got):\n%s", diff)
	}
	busy.close()
}

// TestNamedBlank is the way of file systems that know no unnamed files.
func TestNamedBlank(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "img")
	first, err := named(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := named(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.publish(path); err != nil {
		t.Errorf("publish() = %v", err)
	}
	if err := second.publish(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("publish() over another = %v; want %v", err, fs.ErrExist)
	}
	first.close()
	second.close()
	onlyEntry(t, path)
}

// TestKilledMakerLeavesNothing: where there are unnamed files, not even until the
// next one comes.
func TestKilledMakerLeavesNothing(t *testing.T) {
	if path := os.Getenv("VOLUME_TEST_MAKE"); path != "" {
		if b, err := newBlank(path); err == nil {
			_ = b.f.Truncate(1 << 20)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledMakerLeavesNothing$")
	cmd.Env = append(os.Environ(), "VOLUME_TEST_MAKE="+filepath.Join(dir, "img"))
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the maker ended with %v; want it killed", err)
	}
	b, err := unnamed(dir)
	if err == nil {
		b.close()
		if left := namesIn(t, dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	path := filepath.Join(dir, "img")
	if got, err := outcome(t, Spec{Path: path, Create: true, MiB: 8, FSType: "ext4"}); got != Made || err != nil {
		t.Fatalf("Open() = %v, %v; want Made", got, err)
	}
	onlyEntry(t, path)
}

func TestFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "img")
	for name, s := range map[string]Spec{
		"refused by mkfs": {Path: path, MiB: 8, FSType: "ext4", Args: []string{"-b", "777"}},
		"no such type":    {Path: path, MiB: 8, FSType: "zfs"},
	} {
		s.Create = true
		got, err := outcome(t, s)
		if got != Found || err == nil {
			t.Errorf("%s: Open() = %v, %v; want an error", name, got, err)
		}
		if strings.Contains(fmt.Sprint(err), "/proc/self/fd") {
			t.Errorf("%s: %v names a file that nobody knows", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: left %v", name, entries)
		}
	}
}

func onlyEntry(t *testing.T, path string) {
	t.Helper()
	if diff := cmp.Diff([]string{filepath.Base(path)}, namesIn(t, filepath.Dir(path))); diff != "" {
		t.Errorf("the directory holds more than the image (-want +got):\n%s", diff)
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}
