package initrd_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// makeVolume makes an image with ext4 of that label.
func makeVolume(t *testing.T, label string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "volume")
	writeFile(t, image, "", 0o644)
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "/sbin/mkfs.ext4", "e2fsprogs", "-q", "-L", label, image)
	return image
}

// withData is plain with a volume that is known by its label.
func withData() mounts.Plan {
	p := plain()
	p.Mounts = append(p.Mounts, mounts.Mount{Where: "/data", Type: "ext4", Disk: &mounts.Disk{Label: "data", Position: 1}})
	return p
}

// TestTwoDisksOfOneLabel: neither is taken for the other.
func TestTwoDisksOfOneLabel(t *testing.T) {
	got := start(t, handoff.Boot{Plan: withData(), Init: []string{initOK}},
		drive{image: makeStore(t), serial: "nix-store"},
		drive{image: makeVolume(t, "data"), serial: "one", writable: true},
		drive{image: makeVolume(t, "data"), serial: "two", writable: true}).failed()
	if want := `both /dev/vdb and /dev/vdc have the label "data"`; got.Op != `find disk with label "data"` || got.Err != want {
		t.Errorf("failed = %+v; want %s", got, want)
	}
}

// TestDiskThatComesLate: a guest that looks for its disk before there is one
// goes on when the disk is plugged in.
func TestDiskThatComesLate(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "qmp"), os.NewFile(uintptr(pair[1]), "qmp")
	defer ours.Close()
	defer theirs.Close()
	volume := makeVolume(t, "data")
	m := startOn(t, board{pci: true, bus: "pci", qmp: theirs, args: []string{
		"-M", "q35", "-device", "pcie-root-port,id=root1,chassis=1",
		"-chardev", "socket,id=qmp,fd=4", "-mon", "chardev=qmp,mode=control",
		"-drive", "id=late,if=none,format=raw,file=" + volume,
	}}, handoff.Boot{Plan: withData(), Init: []string{initOK}, DeviceTimeout: int(bootLimit / time.Millisecond)},
		drive{image: makeStore(t), serial: "nix-store"})
	if e := m.event(); e.Hello == nil {
		t.Fatalf("first event = %+v; want hello", e)
	}
	// The store is mounted within milliseconds of the hello, and then there is
	// nothing to do but to wait.
	select {
	case e := <-m.agent.Events():
		t.Fatalf("the guest went on without its disk: %+v, failed %+v", e, e.Failed)
	case <-time.After(2 * time.Second):
	}
	plugIn(t, ours, "virtio-blk-pci", map[string]any{"bus": "root1", "drive": "late", "serial": "other"})
	if e := m.event(); e.Ready == nil || !strings.Contains(e.Ready.MountInfo, " /data ") {
		t.Errorf("event after the disk came = %+v, failed %+v; want ready, with /data mounted", e, e.Failed)
	}
	if err := m.agent.Poweroff(m.ctx, false); err != nil {
		t.Fatal(err)
	}
	m.end()
}

// plugIn adds a device to a running machine.
func plugIn(t *testing.T, qmp io.ReadWriter, driver string, arguments map[string]any) {
	t.Helper()
	arguments["driver"] = driver
	lines := bufio.NewScanner(qmp)
	lines.Scan() // the greeting
	for _, c := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": "device_add", "arguments": arguments}} {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(qmp, "%s\n", b); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() && !strings.Contains(lines.Text(), `"return"`) {
			if strings.Contains(lines.Text(), `"error"`) {
				t.Fatalf("%s: %s", b, lines.Text())
			}
		}
	}
}
