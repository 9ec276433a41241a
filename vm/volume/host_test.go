package volume

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// loop makes a block device of a file.
func loop(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s (run as root)", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return device
}

// mount mounts a file system until the test ends, and returns where.
func mount(t *testing.T, source, fsType, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(source, dir, fsType, 0, options); err != nil {
		t.Fatalf("mount %s: %v (run as root)", fsType, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestNoCoW: on btrfs an image's blocks stay where they are.
func TestNoCoW(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "btrfs")
	if got, err := outcome(t, Spec{Path: disk, Create: true, MiB: 256, FSType: "btrfs"}); got != Made || err != nil {
		t.Fatalf("Open() = %v, %v; want Made", got, err)
	}
	dir := mount(t, loop(t, disk), "btrfs", "")
	for _, format := range []Format{Raw, QCOW2} {
		path := filepath.Join(dir, string(format))
		if got, err := outcome(t, Spec{Path: path, Format: format, Create: true, MiB: 16, FSType: "ext4"}); got != Made || err != nil {
			t.Fatalf("Open() = %v, %v; want Made", got, err)
		}
		// As lsattr(1) shows it: C is no copy-on-write.
		out, err := exec.Command("lsattr", path).CombinedOutput()
		if flags, _, _ := strings.Cut(string(out), " "); !strings.Contains(flags, "C") || err != nil {
			t.Errorf("lsattr of the %s image = %q, %v; want C among the flags", format, out, err)
		}
	}
}

func TestOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "img")
	if got, err := outcome(t, Spec{Path: path, Create: true, MiB: 8, FSType: "ext4", Owner: Owner{UID: 1234, GID: 567}}); got != Made || err != nil {
		t.Fatalf("Open() = %v, %v; want Made (run as root)", got, err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 567 || fi.Mode().Perm() != 0o600 {
		t.Errorf("the image belongs to %d:%d, mode %v; want 1234:567, 0600", st.Uid, st.Gid, fi.Mode().Perm())
	}
}

// TestFullDisk leaves nothing, whatever the disk was full in the middle of.
func TestFullDisk(t *testing.T) {
	dir := mount(t, "tmpfs", "tmpfs", "size=48k,mode=755")
	for fsType := range mkfs {
		for _, format := range []Format{Raw, QCOW2} {
			_, err := outcome(t, Spec{Path: filepath.Join(dir, "img"), Format: format, Create: true, MiB: 320, FSType: fsType})
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("Open() of %s in %s on a full disk = %v; want %v", fsType, format, err, unix.ENOSPC)
			}
			checkHostError(t, err, unix.ENOSPC.Error(), "free some space")
		}
	}
	if left := namesIn(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bfree != st.Blocks {
		t.Errorf("%d of %d blocks are free, %v; want all", st.Bfree, st.Blocks, err)
	}
}
