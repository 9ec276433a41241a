package test_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// loop makes a block device of a file with ext4 in it.
func loop(t *testing.T, file string) string {
	t.Helper()
	write(t, file, "")
	out := ""
	for _, argv := range [][]string{
		{"truncate", "-s", "16M", file}, {"/sbin/mkfs.ext4", "-q", "-F", file}, {"losetup", "--find", "--show", file},
	} {
		b, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s (run as root)", argv, err, b)
		}
		out = strings.TrimSpace(string(b))
	}
	t.Cleanup(func() {
		if b, err := exec.Command("losetup", "--detach", out).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, b)
		}
	})
	return out
}

// TestVolumeOfEachKind: an image of each format, a device of the host's, one that
// goes around the host's page cache, and one that two machines read. A boot
// writes them; the next one finds them, the one that can grow grown.
func TestVolumeOfEachKind(t *testing.T) {
	h := host(t)
	device := loop(t, filepath.Join(h.Dir, "disk"))
	common := filepath.Join(h.Dir, "common.img")
	definition := func(name string, qcow2 int, readOnly bool) string {
		return define(t, h, name, volume("v.qcow2", "/qcow2", qcow2, `imageType = "qcow2"`)+
			volume("v.vhd", "/vhd", 16, `imageType = "vhd"`)+
			volume("v.vhdx", "/vhdx", 16, `imageType = "vhdx"`)+
			volume("v.img", "/direct", 16, "direct = true")+
			volume(device, "/device", 64)+
			volume(common, "/common", 16, fmt.Sprintf("readOnly = %v", readOnly)))
	}
	e := h.Start(definition("kinds", 16, false), "--", "sh", "-c",
		"for v in qcow2 vhd vhdx direct device common; do dd if=/dev/urandom of=/$v/file bs=64k count=16 2>/dev/null && sha256sum /$v/file; done").Wait()
	checkEnd(t, e, 0)
	if n := strings.Count(e.Stdout, "\n"); n != 6 {
		t.Fatalf("the guest wrote %d volumes; want 6\n%s", n, e.Stdout)
	}
	written := e.Stdout

	v := h.Start(definition("kinds", 48, true))
	v.WaitReady()
	if diff := cmp.Diff(written, v.Exec("sh", "-c", "for v in qcow2 vhd vhdx direct device common; do sha256sum /$v/file; done")); diff != "" {
		t.Errorf("the next boot finds other files (-want +got):\n%s", diff)
	}
	if got, _ := strconv.Atoi(strings.TrimSpace(v.Exec("stat", "-f", "-c", "%b", "/qcow2"))); got < 40<<10 {
		t.Errorf("the file system in the image that has grown to 48 MiB has %d KiB", got)
	}
	for image, want := range map[string]bool{"v.img": true, "v.qcow2": false} {
		if got := opensDirectly(t, v.Status().QEMU, h.Dirs().Machine("kinds").State+"/"+image); got != want {
			t.Errorf("QEMU goes around the page cache for %s: %v; want %v", image, got, want)
		}
	}

	// What one writes is its own, and what all read is for all.
	for _, image := range []string{h.Dirs().Machine("kinds").State + "/v.qcow2", device} {
		other := define(t, h, "other", volume(image, "/v", 48, `imageType = "qcow2"`))
		e = h.Start(other).Wait()
		if image == device {
			checkEnd(t, e, 101, `error: volumes\[0\]: volume `+image+`: the host uses the device itself, or another machine does`, "hint: unmount it.*")
			continue
		}
		checkEnd(t, e, 101, fmt.Sprintf(`error: volumes\[0\]: volume %s: the machine kinds \(process %d\) uses the image`, image, v.PID()),
			`hint: stop it \(mvm stop kinds\); only volumes that are readOnly for all can be shared`)
	}
	e = h.Start(define(t, h, "reader", volume(common, "/common", 16, "readOnly = true")), "--", "sha256sum", "/common/file").Wait()
	checkEnd(t, e, 0)
	if !strings.HasSuffix(written, e.Stdout) || e.Stdout == "" {
		t.Errorf("a second machine reads %q; want the end of %q", e.Stdout, written)
	}
	checkEnd(t, v.Stop(), 0)
	checkFileSystem(t, device, "ext4")
}

// opensDirectly reports whether a process has a file open with O_DIRECT.
func opensDirectly(t *testing.T, pid int, file string) bool {
	t.Helper()
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != file {
			continue
		}
		info, err := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(info)) {
			if octal, ok := strings.CutPrefix(line, "flags:"); ok {
				flags, err := strconv.ParseInt(strings.TrimSpace(octal), 8, 64)
				if err != nil {
					t.Fatal(err)
				}
				return flags&syscall.O_DIRECT != 0
			}
		}
	}
	t.Fatalf("process %d has %s not open", pid, file)
	return false
}

// TestHostDiskFull: a guest whose volume finds no more room on the host stands
// still, says so, and goes on when there is room again.
func TestHostDiskFull(t *testing.T) {
	h := host(t)
	dir := mountTmpfs(t, "size=8m")
	v := h.Start(define(t, h, "full", volume(filepath.Join(dir, "v.img"), "/v", 64)))
	v.WaitReady()
	writing := v.Command("sh", "-c", "dd if=/dev/zero bs=64k count=256 | tr '\\0' x >/v/file && sync && sha256sum </v/file")
	var out strings.Builder
	writing.Stdout = &out
	if err := writing.Start(); err != nil {
		t.Fatal(err)
	}
	v.Await("the volume " + filepath.Join(dir, "v.img") +
		": the host cannot write it: no space left on device; the guest is paused: free some space, then run mvm resume full")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=100m"); err != nil {
		t.Fatal(err)
	}
	if e := h.Mvm("resume", "full"); e.Code != 0 {
		t.Errorf("mvm resume = %d\n%s", e.Code, e.Stderr)
	}
	if err := writing.Wait(); err != nil {
		t.Errorf("the command that wrote: %v", err)
	}
	want := fmt.Sprintf("%x  -\n", sha256.Sum256(bytes.Repeat([]byte("x"), 256*64<<10)))
	if out.String() != want {
		t.Errorf("what was written has the sum %q; want %q", out.String(), want)
	}
	checkEnd(t, v.Stop(), 0)
	checkFileSystem(t, filepath.Join(dir, "v.img"), "ext4")
}

// TestFullDiskBeforeTheBoot: for a volume that is to be made, and for the store
// disk, it is one error, and leaves nothing.
func TestFullDiskBeforeTheBoot(t *testing.T) {
	t.Run("volume", func(t *testing.T) {
		h := host(t)
		dir := mountTmpfs(t, "size=48k")
		e := h.Start(define(t, h, "full", volume(filepath.Join(dir, "v.img"), "/v", 64))).Wait()
		checkEnd(t, e, 101, `error: volumes\[0\]: make volume `+dir+`/v.img: no space left on device`, "hint: free some space, or make the volume smaller")
		checkHolds(t, dir)
	})
	t.Run("store disk", func(t *testing.T) {
		h := host(t)
		if err := os.MkdirAll(h.Dirs().Cache, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", h.Dirs().Cache, "tmpfs", 0, "size=64k,mode=755"); err != nil {
			t.Fatalf("%v (run as root)", err)
		}
		t.Cleanup(func() { unmount(t, h.Dirs().Cache) })
		e := h.Start(define(t, h, "full", "")).Wait()
		checkEnd(t, e, 101, "error: make store disk in "+h.Dirs().Cache+": the disk is full: the closure has .*, and .* are free",
			`hint: free space there \(mvm store gc\), or use another cache directory`)
		// What the closure is made of was asked before, and stays known.
		checkHolds(t, h.Dirs().Cache, "closures")
	})
}

// mountTmpfs mounts a file system in memory until the test ends.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("%v (run as root)", err)
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, 0); err != nil {
		t.Errorf("unmount %s: %v", dir, err)
	}
}

func checkHolds(t *testing.T, dir string, want ...string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("%s holds (-want +got):\n%s", dir, diff)
	}
}
