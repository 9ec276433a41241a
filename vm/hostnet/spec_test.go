package hostnet

import (
	"strings"
	"testing"
)

func TestSpecCheck(t *testing.T) {
	tests := []struct {
		spec Spec
		want string
	}{
		{Spec{Name: "vm0"}, ""},
		{Spec{Name: strings.Repeat("x", 15)}, ""},
		{Spec{Name: "vm-0.a_b@c", Queues: 256, Owner: 1, Bridge: "br0", MAC: mac}, ""},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "eth0", MAC: mac, Mode: "passthru"}, ""},
		{Spec{}, "a device has no name"},
		{Spec{Name: "mvm-averyverylongname0"}, `the device name "mvm-averyverylongname0" has 22 bytes; the kernel allows 15`},
		{Spec{Name: "täp-äöüäöü"}, `the device name "täp-äöüäöü" has 17 bytes; the kernel allows 15`},
		{Spec{Name: "tap%d"}, `"tap%d" cannot be a device's name`},
		{Spec{Name: "a/b"}, `"a/b" cannot be a device's name`},
		{Spec{Name: "a b"}, `"a b" cannot be a device's name`},
		{Spec{Name: ".."}, `".." cannot be a device's name`},
		{Spec{Name: "vm0", Machine: "a:b"}, `the machine's name "a:b" does not fit into a device's alias`},
		{Spec{Name: "vm0", Machine: strings.Repeat("x", 129)}, "the machine's name"},
		{Spec{Name: "vm0", Queues: 257}, "257 queues are not between 1 and 256"},
		{Spec{Name: "vm0", MAC: mac[:5]}, "02:00:00:00:00 is not an Ethernet address"},
		{Spec{Name: "vm0", MAC: []byte{1, 2, 3, 4, 5, 6}}, "01:02:03:04:05:06 is a group's address"},
		{Spec{Name: "vm0", Mode: "vepa"}, "a tap has no link and no mode"},
		{Spec{Name: "vm0", Bridge: "a/b"}, `"a/b" cannot be a device's name`},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "eth0"}, "a macvtap needs the guest's address"},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "eth0", MAC: mac, Mode: "mesh"}, `macvtap mode "mesh" is none of private, vepa, bridge, passthru, source`},
		{Spec{Kind: Macvtap, Name: "vm0", MAC: mac}, "a device has no name"},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "eth0", MAC: mac, Bridge: "br0"}, "a macvtap has no bridge and no owner"},
		{Spec{Kind: "tun", Name: "vm0"}, `"tun" is not a kind of device`},
	}
	for _, tt := range tests {
		if tt.spec.Machine == "" {
			tt.spec.Machine = "web"
		}
		err := tt.spec.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("Check(%+v) = %v; want %q", tt.spec, err, tt.want)
		}
	}
}

func TestAliasIsReadAsItWasWritten(t *testing.T) {
	o, err := self("web")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := parseAlias(o.alias()); !ok || got != o || got.dead() {
		t.Errorf("parseAlias(%q) = %+v, %v; want %+v", o.alias(), got, ok, o)
	}
	long, err := self(strings.Repeat("x", maxMachine))
	if err != nil {
		t.Fatal(err)
	}
	long.process.PID, long.process.StartTime = 1<<22, 1<<63
	if n := len(long.alias()); n > 255 {
		t.Errorf("an alias has %d bytes; want at most 255", n)
	}
	for _, alias := range []string{"", "mvm", "mvm:web", "libvirt:web:1:2:3:4", "mvm:web:x:2:3:4", "mvm:web:0:2:3:4", "mvm:web:1:-2:3:4", "mvm:web:1:2:3:4:5"} {
		if o, ok := parseAlias(alias); ok {
			t.Errorf("parseAlias(%q) = %+v; want none", alias, o)
		}
	}
	reused := o
	reused.process.StartTime++
	elsewhere := reused
	elsewhere.pidSpace = "pid:[1]"
	if !reused.dead() || elsewhere.dead() {
		t.Errorf("dead() of a reused id = %v, of one of another namespace = %v; want true, false", reused.dead(), elsewhere.dead())
	}
}
