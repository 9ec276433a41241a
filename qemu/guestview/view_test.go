package guestview_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/qemu/guestview"
)

const (
	uuid = "35beb228-e803-efcd-3453-45dce3ee7cdd"
)

// machines are what the definitions in testdata mean.
var machines = map[string]qemu.Machine{
	"01-store-disk-erofs":            {Drives: []qemu.Drive{{ID: "store"}}},
	"02-store-disk-squashfs":         {Drives: []qemu.Drive{{ID: "store"}}},
	"03-store-disk-overlay-tmpfs":    {Drives: []qemu.Drive{{ID: "store"}}},
	"04-store-disk-overlay-volume":   {Drives: []qemu.Drive{{ID: "store"}, volume("vdb")}},
	"05-host-store-9p-bind":          {Shares: []qemu.Share{{Tag: "ro-store", Path: "/nix/store", Writable: true}}},
	"06-host-store-virtiofs-overlay": {Shares: []qemu.Share{{Tag: "ro-store", Socket: "s"}}, Drives: []qemu.Drive{volume("vda")}},
	"07-host-store-mounted-in-place": {Shares: []qemu.Share{{Tag: "store", Socket: "s"}}},
	"08-volumes-labels-and-letters": {Mem: 1024, VCPU: 2, Drives: []qemu.Drive{
		{ID: "store"}, volume("vdb"), volume("vdc"), volume("vdd"), {ID: "vde", Discard: true, Direct: true, Serial: "D4"},
	}},
	"09-user-network-ports": {Drives: []qemu.Drive{{ID: "store"}}, NICs: []qemu.NIC{{
		MAC: "02:00:00:01:01:01", User: &qemu.UserNet{HostForwards: []qemu.HostForward{
			{HostPort: 2222, GuestPort: 22},
			{UDP: true, HostAddr: netip.MustParseAddr("127.0.0.1"), HostPort: 5353, GuestAddr: netip.MustParseAddr("10.0.2.15"), GuestPort: 53},
		}},
	}}},
	"10-tap-multiqueue": {VCPU: 4, Drives: []qemu.Drive{{ID: "store"}}, NICs: []qemu.NIC{{
		MAC: "02:00:00:01:01:02", Tap: &qemu.TapNet{Files: []string{"0", "1", "2", "3"}},
	}}},
	"11-q35-shares": {Type: qemu.Q35, Mem: 768, VCPU: 2, Shares: []qemu.Share{
		{Tag: "ro-store", Path: "/nix/store", Writable: true}, {Tag: "home", SocketFile: "s"},
	}},
	"12-extra": {
		Mem: 256, Drives: []qemu.Drive{{ID: "store"}}, Balloon: true, DeflateOnOOM: true, Vsock: &qemu.Vsock{CID: 42},
		Credentials: []qemu.Credential{{Name: "TOKEN", Path: "/run/secrets/token"}},
	},
}

func volume(id string) qemu.Drive { return qemu.Drive{ID: id, Writable: true, Discard: true} }

// ours are the devices that every machine of mvm's has and the reference's may
// not: docs/qemu.md gives the reasons.
var ours = []string{"panic notifier", "virtio-serial bus", "port run.mvm.agent"}

func TestAGuestGetsWhatTheReferenceGivesIt(t *testing.T) {
	b, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference map[string]string
	if err := json.Unmarshal(b, &reference); err != nil {
		t.Fatal(err)
	}
	for name, command := range reference {
		t.Run(name, func(t *testing.T) {
			want, err := guestview.Of(words(command)[1:])
			if err != nil {
				t.Fatal(err)
			}
			m, ok := machines[name]
			if !ok {
				t.Fatal("no machine for this definition")
			}
			m.Console, m.Agent, m.UUID = true, "run.mvm.agent", uuid
			got, err := guestview.Of(m.Args())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ours {
				if !slices.Contains(want.Devices, d) {
					want.Devices = append(want.Devices, d)
				}
			}
			slices.Sort(want.Devices)
			want.Devices = slices.Compact(want.Devices) // q35 and -device i8042 are one keyboard
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the guest's view (-reference +ours):\n%s", diff)
			}
		})
	}
}

// words splits a command as a shell does that sees only single quotes.
func words(s string) []string {
	var ws []string
	var w strings.Builder
	quoted, any := false, false
	for _, c := range s + " " {
		switch {
		case c == '\'':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				ws = append(ws, w.String())
			}
			w.Reset()
			any = false
		default:
			w.WriteRune(c)
			any = true
		}
	}
	return ws
}

func TestOfRefusesWhatItDoesNotKnow(t *testing.T) {
	tests := []struct {
		args string
		want string
	}{
		{"-foo", `unknown option "-foo"`},
		{"-m", "-m lacks its value"},
		{"-m x", `-m x: strconv.Atoi: parsing "x": invalid syntax`},
		{"-device foo", "-device foo: unknown device"},
		{"-device virtio-blk-pci,drive=a", `-device virtio-blk-pci: no back-end "a"`},
		{"-netdev user", "-netdev user: no id"},
	}
	for _, tt := range tests {
		_, err := guestview.Of(strings.Fields(tt.args))
		if err == nil || err.Error() != tt.want {
			t.Errorf("Of(%s) = %v; want %s", tt.args, err, tt.want)
		}
	}
}
