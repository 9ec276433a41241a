package hostnet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHelperMakesATap has QEMU's own helper make one, for bridges that a
// configuration of the test's allows.
func TestHelperMakesATap(t *testing.T) {
	if _, err := findHelper(); err != nil {
		t.Fatalf("%v (install qemu-system-common)", err)
	}
	switch err := os.Mkdir("/etc/qemu", 0o755); { // to mount on
	case err == nil:
		t.Cleanup(func() { os.Remove("/etc/qemu") })
	case !errors.Is(err, fs.ErrExist):
		t.Fatal(err)
	}
	inNamespace(t)
	for _, name := range []string{"br0", "br1"} {
		ip(t, "link", "add", name, "type", "bridge")
		ip(t, "link", "set", name, "up")
	}
	other := files(t, up(t, Spec{Name: "vm1", Bridge: "br0"}))[0]
	before := openFiles(t)
	withoutNetAdmin(t, func() {
		// The thread ends with the test, and with it this view of /etc.
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", "/etc/qemu", "tmpfs", 0, "mode=755")
		}
		if err == nil {
			err = os.WriteFile(filepath.Join("/etc/qemu", "bridge.conf"), []byte("allow br0\n"), 0o644)
		}
		if err != nil {
			t.Error(err)
			return
		}
		d, err := Up(t.Context(), Spec{Name: "vm0", Machine: "web", Bridge: "br0", Helper: true})
		if err != nil {
			t.Error(err)
			return
		}
		if got := show(t)[d.Name]; got.Master != "br0" || !got.Info.Data.VNetHdr || d.Name == "vm0" {
			t.Errorf("the helper makes %+v; want a tap on br0 with virtio's header", got)
		}
		q, _, err := d.Files()
		if err != nil || len(q) != 1 {
			t.Errorf("Files() = %d, %v; want one queue", len(q), err)
			return
		}
		deliver(t, hello(mac, "by the helper's tap"), q[0], other)
		closeAll(q)
		if err := d.Down(); err != nil {
			t.Error(err)
		}
		if got, ok := show(t)[d.Name]; ok {
			t.Errorf("Down leaves %+v", got)
		}
		_, err = Up(t.Context(), Spec{Name: "vm0", Machine: "web", Bridge: "br1", Helper: true})
		he := (*HostError)(nil)
		if !errors.As(err, &he) || !strings.Contains(err.Error(), "acl") || he.Hint != "have root allow the bridge: echo allow br1 >>/etc/qemu/bridge.conf" {
			t.Errorf("Up() on a bridge that is not allowed = %v, %+v; want the helper's word, and what to do", err, he)
		}
	})
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open; want %d as before", after, before)
	}
}
