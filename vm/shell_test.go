package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/state"
)

func TestWhatOnlyMvmCanDoIsSaid(t *testing.T) {
	c, err := Parse("/etc/mvm/a.toml", []byte(`
toplevel = "/nix/store/00000000000000000000000000000000-system"
user = "nobody"
preStart = "true"
extraArgsScript = "true"
vsock.cid = 7
qemu.serialConsole = false
[[shares]]
tag = "a"
source = "/srv/a"
mountPoint = "/a"
proto = "virtiofs"
[[interfaces]]
type = "tap"
id = "vm-a"
[[interfaces]]
type = "macvtap"
id = "vm-b"
macvtap = { link = "eth0", mode = "bridge" }
[[devices]]
bus = "pci"
path = "0000:01:00.0"
`))
	if err != nil {
		t.Fatal(err)
	}
	place := state.Dirs{State: "/state", Runtime: "/run"}.Machine("a")
	m, _, err := Plan(c, c.Unresolved(), Host{Arch: "amd64", Accel: qemu.TCG, Place: place})
	if err != nil {
		t.Fatal(err)
	}
	m.Standalone = true
	notes := c.withoutMvm(&m, place)
	want := []string{
		"mvm does not know of this guest: no ps, stop, exec or ready. Ctrl-A X ends it, Ctrl-A C is QEMU's monitor.",
		"qemu.serialConsole is false: nothing will be seen of the guest.",
		"user: QEMU runs as you, with what you may do.",
		"shares[0]: start a virtiofsd first that shares /srv/a on the socket /state/a/shell-share0.sock.",
		"interfaces[0]: make the tap vm-a first (ip tuntap add vm-a mode tap vnet_hdr), and let QEMU's user have it.",
		"interfaces[1]: left out, since a macvtap is an open file.",
		"vsock.cid: it must be free, which nobody has checked.",
		"devices[0]: bind 0000:01:00.0 to vfio-pci first.",
		"preStart: run it first, in /state/a.",
		"extraArgsScript: add what it prints.",
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	args := strings.Join(m.Args(), " ")
	for _, want := range []string{"path=/state/a/shell-share0.sock", "ifname=vm-a,script=no"} {
		if !strings.Contains(args, want) {
			t.Errorf("Args() = %s; want %s", args, want)
		}
	}
	for _, no := range []string{"fd=", "fds=", "/proc/self/fd", "fdset", "vm-b"} {
		if strings.Contains(args, no) {
			t.Errorf("Args() = %s; want no %s", args, no)
		}
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

func TestSteadyTSCMeasuresOnceABoot(t *testing.T) {
	dirs := state.Dirs{Cache: t.TempDir()}
	measured := 0
	measure := func() int { measured++; return 2600000 + measured }
	for range 3 {
		if got := SteadyTSC(dirs, measure); got != 2600001 {
			t.Errorf("SteadyTSC() = %d; want the first measurement", got)
		}
	}
	for _, broken := range []string{"", "{", `{"bootId":"another","khz":1}`} {
		if err := os.WriteFile(filepath.Join(dirs.Cache, "tsc.json"), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		before := measured
		if got := SteadyTSC(dirs, measure); got != 2600000+measured || measured != before+1 {
			t.Errorf("SteadyTSC() over %q = %d after %d measurements; want a new one", broken, got, measured-before)
		}
	}
	dirs.Cache = "/nonesuch"
	if got := SteadyTSC(dirs, measure); got != 2600000+measured {
		t.Errorf("SteadyTSC() without a cache = %d; want a measurement", got)
	}
}
