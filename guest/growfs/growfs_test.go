package growfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
)

// run runs a tool, which must succeed.
func run(t *testing.T, debianPackage, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s (install %s; run as root)", name, args, err, out, debianPackage)
	}
	return strings.TrimSpace(string(out))
}

// mounted mounts a file system that was made by mkfs with so many MiB, on a disk
// with more.
func mounted(t *testing.T, fsType string, made, disk int64, mkfs ...string) mounts.MountInfo {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, made<<20); err != nil {
		t.Fatal(err)
	}
	run(t, mkfs[0], mkfs[1], append(mkfs[2:], image)...)
	if err := os.Truncate(image, disk<<20); err != nil {
		t.Fatal(err)
	}
	device := run(t, "mount", "losetup", "--find", "--show", image)
	t.Cleanup(func() { run(t, "mount", "losetup", "--detach", device) })
	dir := t.TempDir()
	if err := unix.Mount(device, dir, fsType, 0, ""); err != nil {
		t.Fatalf("mount %s: %v", fsType, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return mounts.MountInfo{Where: dir, Type: fsType, Source: device}
}

// TestAll has what a host's root may do in a container, too: ext4 and vfat grow, or
// do not, in the guests of package test.
func TestAll(t *testing.T) {
	tests := []struct {
		name       string
		fsType     string
		made, disk int64
		mkfs       []string // the package that has it comes first
		want       string   // DIR is the mount point
	}{
		{"xfs", "xfs", 320, 512, []string{"xfsprogs", "mkfs.xfs", "-q"}, "the file system on DIR has grown from 256 to 448 MiB"},
		{"btrfs", "btrfs", 256, 300, []string{"btrfs-progs", "mkfs.btrfs", "-q"}, "the file system on DIR has grown from 256 to 300 MiB"},
		{"as large as its disk", "ext4", 32, 32, []string{"e2fsprogs", "mkfs.ext4", "-q"}, ""},
		{"a small btrfs", "btrfs", 128, 160, []string{"btrfs-progs", "mkfs.btrfs", "-q"},
			"the file system on DIR is smaller than its disk, and stays so: Linux resizes no btrfs to less than 256 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mounted(t, tt.fsType, tt.made, tt.disk, tt.mkfs...)
			plan := mounts.Plan{Mounts: []mounts.Mount{
				{Where: "/", Type: "tmpfs", What: "rootfs"},
				{Where: m.Where, Type: m.Type, Disk: &mounts.Disk{}, Grow: true},
				{Where: "/gone", Type: m.Type, Disk: &mounts.Disk{}, Grow: true},
			}}
			got := strings.ReplaceAll(strings.Join(All(plan, []mounts.MountInfo{m}), "\n"), m.Where, "DIR")
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("All() = %q; want %q", got, tt.want)
			}
			if strings.Contains(tt.want, "stays so") {
				return
			}
			if again := All(plan, []mounts.MountInfo{m}); len(again) > 0 {
				t.Errorf("All() again = %q; want nothing", again)
			}
			plan.Mounts[1].Grow = false
			if diff := cmp.Diff([]string(nil), All(plan, []mounts.MountInfo{m})); diff != "" {
				t.Errorf("All() of a plan where nothing grows (-want +got):\n%s", diff)
			}
		})
	}
}
