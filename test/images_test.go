package test_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
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
