package vm

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/state"
)

var update = flag.Bool("update", false, "rewrite testdata/plan from the current output")

// A plan is tested as a pair: what QEMU is told and what the guest mounts must
// fit each other, so each golden file holds both.
func TestPlan(t *testing.T) {
	place := state.Dirs{State: "/var/lib/mvm", Runtime: "/run/mvm"}.Machine("myvm")
	tests := []struct {
		golden string
		toml   string
		accel  qemu.Accel
	}{
		{"minimal", ``, qemu.KVM},
		{"tcg", `vcpu = 2`, qemu.TCG},
		{"q35", `qemu.machine = "q35"`, qemu.KVM},
		{"aarch64", `accel = "tcg"`, qemu.TCG},
		{"memory", `
mem = 256
hotplugMem = 512
hotpluggedMem = 128
hugepageMem = true`, qemu.TCG},
		{"machine-id", `machineId = "01234567-89AB-cdef-0123-456789abcdef"`, qemu.KVM},
		{"params", `kernelParams = ["quiet", "loglevel=3"]`, qemu.KVM},
		{"overlay", `writableStoreOverlay = "/nix/.rw-store"`, qemu.KVM},
		{"volumes", `
[[volumes]]
image = "plain.img"
mountPoint = "/a"
size = 64
[[volumes]]
image = "/srv/with,comma.img"
mountPoint = "/b"
label = "data"
size = 64
readOnly = true
direct = true
serial = "B2"`, qemu.KVM},
		{"initrd", `
initrdPath = "initrd"
registerClosure = true
init = ["/nix/store/00000000000000000000000000000000-system/init", "--unit", "two words", ""]`, qemu.KVM},
		{"devices", `
vsock.cid = "auto"
credentialFiles = { token = "secrets/token", key = "/etc/key" }
[[devices]]
bus = "pci"
path = "01:00.0"
[[devices]]
bus = "usb"
path = "vendorid=0xabcd,productid=0x0123"
qemu = { id = "stick", deviceExtraArgs = "pcap=/tmp/a" }
[[qemu.pcieRootPorts]]
id = "port1"
chassis = 1`, qemu.KVM},
		{"user-network", `
[[interfaces]]
type = "user"
id = "net"
[[forwardPorts]]
host.port = 2222
guest.port = 22
[[forwardPorts]]
proto = "udp"
host = { address = "127.0.0.1", port = 5353 }
guest = { address = "10.0.2.15", port = 53 }`, qemu.KVM},
		{"networks", `
vcpu = 2
[[interfaces]]
type = "user"
id = "net"
user.backend = "passt"
[[interfaces]]
type = "tap"
id = "vm-tap"
tap.vhost = true
[[interfaces]]
type = "macvtap"
id = "vm-macvtap"
macvtap.link = "eth0"
[[interfaces]]
type = "bridge"
id = "vm-bridge"
bridge = "br0"
[[interfaces]]
type = "user"
id = "alone"
user.restrict = true`, qemu.KVM},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			c, err := Parse("/etc/mvm/myvm.toml", []byte(`toplevel = "/nix/store/00000000000000000000000000000000-system"`+"\n"+tt.toml))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckRules(); err != nil {
				t.Fatal(err)
			}
			img := c.Unresolved()
			img.Params = []string{"loglevel=4"}
			if tt.golden == "aarch64" {
				img.Arch = "arm64"
			}
			m, plan, err := Plan(c, img, Host{Arch: "amd64", Accel: tt.accel, TSCKHz: 2600000, AIO: "io_uring", CID: 70000, Place: place})
			if err != nil {
				t.Fatal(err)
			}
			if err := plan.Check(); err != nil {
				t.Errorf("the plan is wrong: %v", err)
			}
			if err := m.Check(); err != nil {
				t.Errorf("the machine is wrong: %v", err)
			}
			serials(t, m, plan)
			var b strings.Builder
			for _, f := range m.Explain() {
				b.WriteString(strings.Join(f.Args, " ") + "\n")
			}
			text, err := json.MarshalIndent(plan.Mounts, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString("\n" + string(text) + "\n")
			golden(t, filepath.Join("testdata", "plan", tt.golden+".golden"), b.String())
		})
	}
}

// serials checks that every disk that the guest is to find is one that QEMU
// gives it, at the position and with the access that the plan says.
func serials(t *testing.T, m qemu.Machine, plan mounts.Plan) {
	t.Helper()
	for _, mount := range plan.Mounts {
		if mount.Disk == nil {
			continue
		}
		if n := mount.Disk.Position; n < 0 || n >= len(m.Drives) {
			t.Errorf("%s is on disk %d of %d", mount.Where, n, len(m.Drives))
			continue
		}
		d := m.Drives[mount.Disk.Position]
		if d.Serial != mount.Disk.Serial {
			t.Errorf("%s is on serial %q; QEMU is told %q", mount.Where, mount.Disk.Serial, d.Serial)
		}
		if d.Writable == mount.ReadOnly() {
			t.Errorf("%s: read-only is %v in the plan, writable is %v in the machine", mount.Where, mount.ReadOnly(), d.Writable)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run: go test ./vm -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("Plan() changed (-want +got); if intended, run go test ./vm -update:\n%s", diff)
	}
}

func TestDerivedMACIsStableUnicastAndLocal(t *testing.T) {
	a, b := deriveMAC("myvm", "net"), deriveMAC("myvm", "net2")
	if a == b || !strings.HasPrefix(a, "02:") || a != deriveMAC("myvm", "net") {
		t.Errorf("deriveMAC() = %s and %s; want two stable addresses that begin with 02:", a, b)
	}
}
