package test_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDiskOnRootPort plugs a disk into a root port while the guest runs, by a
// monitor of the owner's own, and pulls it out. The guest has no systemd, and finds
// a credential where the kernel shows it.
func TestDiskOnRootPort(t *testing.T) {
	h := host(t)
	image := write(t, filepath.Join(h.Dir, "late.img"), strings.Repeat("plugged\n", 1<<17))
	token := write(t, filepath.Join(h.Dir, "token"), "of no systemd\n")
	socket := filepath.Join(h.Dir, "qmp")
	v := h.Start(define(t, h, "ports", fmt.Sprintf(`
credentialFiles.token = %q
[qemu]
machine = "q35"
extraArgs = ["-qmp", "unix:%s,server=on,wait=off"]
[[qemu.pcieRootPorts]]
id = "slot1"
chassis = 7
[[qemu.pcieRootPorts]]
id = "slot2"
bus = "pcie.0"
addr = "0x1c"
chassis = 8
slot = "3"`, token, socket)))
	v.WaitReady()
	const fwCfg = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/token/raw"
	if got := v.Exec("cat", fwCfg); got != "of no systemd\n" {
		t.Errorf("the credential is %q; want what its file holds", got)
	}

	q := dialQMP(t, socket)
	q.do("blockdev-add", map[string]any{"driver": "raw", "node-name": "late", "read-only": true,
		"file": map[string]any{"driver": "file", "filename": image}})
	q.do("device_add", map[string]any{"driver": "virtio-blk-pci", "id": "disk", "bus": "slot2", "drive": "late", "serial": "late"})
	// A uevent would tell; a shell has no way to hear it.
	got := v.Exec("sh", "-c", `until [ -e /dev/vdb ]; do sleep 0.1; done
		cat /sys/block/vdb/serial; echo; head -c 8 /dev/vdb; readlink -f /sys/block/vdb`)
	lines := strings.Split(got, "\n")
	if diff := cmp.Diff([]string{"late", "plugged"}, lines[:2]); diff != "" {
		t.Errorf("the disk that was plugged in (-want +got):\n%s", diff)
	}
	if port := regexp.MustCompile(`/0000:00:1c\.0/0000:[0-9a-f]{2}:00\.0/`); !port.MatchString(lines[2]) {
		t.Errorf("the disk is at %s; want it behind the port at 1c.0", lines[2])
	}

	q.do("device_del", map[string]any{"id": "disk"})
	v.Exec("sh", "-c", `while [ -e /dev/vdb ]; do sleep 0.1; done`)
	checkEnd(t, v.Stop(), 0)
}

// TestCredentialsThatAreWrong: all that is wrong with them is said before a guest
// runs.
func TestCredentialsThatAreWrong(t *testing.T) {
	h := host(t)
	big := write(t, filepath.Join(h.Dir, "big"), "")
	if err := os.Truncate(big, 1<<20+1); err != nil {
		t.Fatal(err)
	}
	e := h.Start(define(t, h, "wrong", fmt.Sprintf(`
[credentialFiles]
big = %q
folder = "."
gone = "secrets/gone"`, big))).Wait()
	checkEnd(t, e, 101,
		"error: credentialFiles.big: read .*/big: the credentials have more than 1 MiB in all",
		"hint: give the guest less: systemd takes no more, and a volume or a share holds any amount",
		"hint: name a file that holds the secret",
		"hint: put the secret there before the machine starts, readable by the user who starts it")
	for _, want := range []string{
		`\ncredentialFiles\.folder: read .*: it is no regular file\n`,
		`\ncredentialFiles\.gone: open .*/secrets/gone: no such file or directory\n`,
	} {
		if !regexp.MustCompile(want).MatchString(e.Stderr) {
			t.Errorf("mvm said %q; want a match of %q", e.Stderr, want)
		}
	}
}

// A qmp is a connection to a monitor of QEMU's.
type qmp struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Scanner
}

func dialQMP(t *testing.T, socket string) *qmp {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	q := &qmp{t, conn, bufio.NewScanner(conn)}
	q.lines.Scan() // the greeting
	q.do("qmp_capabilities", nil)
	return q
}

// do has QEMU execute a command, which must succeed, and returns its answer.
func (q *qmp) do(command string, arguments map[string]any) string {
	q.t.Helper()
	order := map[string]any{"execute": command}
	if arguments != nil {
		order["arguments"] = arguments
	}
	b, err := json.Marshal(order)
	if err != nil {
		q.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(q.conn, "%s\n", b); err != nil {
		q.t.Fatal(err)
	}
	for q.lines.Scan() {
		switch line := q.lines.Text(); {
		case strings.Contains(line, `"error"`):
			q.t.Fatalf("%s: %s", b, line)
		case strings.Contains(line, `"return"`):
			return line
		}
	}
	q.t.Fatalf("%s: QEMU has hung up", b)
	return ""
}
