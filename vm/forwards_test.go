package vm

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
)

// TestBackendOfAUserNetwork: who carries out a forward, on a host with passt and
// on one without, and what it is told.
func TestBackendOfAUserNetwork(t *testing.T) {
	tests := []struct {
		user, forward string
		with, without string // back-ends, or an error's text
		passt         string // what passt is told
	}{
		{``, ``, "passt", "slirp", "[] []"},
		{`user.backend = "slirp"`, ``, "slirp", "slirp", ""},
		{`user.backend = "passt"`, ``, "passt", "passt", "[] []"},
		{`user.restrict = true`, ``, "slirp", "slirp", ""},
		{``, `{ host.port = 80, guest.port = 81 }`, "passt", "slirp", "[{false invalid IP 80 81}] []"},
		{``, `{ host = { address = "127.0.0.1", port = 80 }, guest = { address = "10.0.2.15", port = 81 }, proto = "udp" }`,
			"passt", "slirp", "[{true 127.0.0.1 80 81}] []"},
		{``, `{ host.port = 80, guest = { address = "10.0.2.16", port = 81 } }`, "slirp", "slirp", ""},
		{``, `{ host = { address = "::1", port = 80 }, guest.port = 81 }`, "passt",
			"carry out forwardPorts[0]: QEMU's own network forwards no ports to a guest over IPv6, and passt does not work here: it is a test",
			"[{false ::1 80 81}] []"},
		{``, `{ host.port = 80, guest = { address = "fec0::15", port = 81 } }`, "passt",
			"carry out forwardPorts[0]: QEMU's own network forwards no ports to a guest over IPv6, and passt does not work here: it is a test",
			"[{false :: 80 81}] []"},
		{``, `{ from = "guest", host.port = 80, guest.port = 80 }`, "passt", "slirp", "[] []"},
		{``, `{ from = "guest", host = { address = "::1", port = 80 }, guest.port = 80 }`, "passt", "slirp", "[] []"},
		{``, `{ from = "guest", host = { address = "::1", port = 80 }, guest.port = 80, proto = "udp" }`, "slirp", "slirp", ""},
		{``, `{ from = "guest", host.port = 80, guest.port = 81, proto = "udp" }`, "passt",
			"carry out forwardPorts[0]: QEMU's own network leads only from the guest's gateway to the same port of the host's loopback, and passt does not work here: it is a test",
			"[] [{true 10.0.2.2:81 127.0.0.1:80}]"},
		{`user.backend = "passt"`, `{ from = "guest", host = { address = "192.0.2.1", port = 80 }, guest = { address = "10.0.2.10", port = 80 } }`,
			"passt", "passt", "[] [{false 10.0.2.10:80 192.0.2.1:80}]"},
	}
	for _, tt := range tests {
		text := "[[interfaces]]\ntype = \"user\"\nid = \"net\"\n" + tt.user
		if tt.forward != "" {
			text = "forwardPorts = [" + tt.forward + "]\n" + text
		}
		c, err := Parse("x.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CheckRules(); err != nil {
			t.Fatal(err)
		}
		for _, host := range []Host{{Arch: "amd64", Passt: true}, {Arch: "amd64", NoPasst: "it is a test"}} {
			want := tt.without
			if host.Passt {
				want = tt.with
			}
			nic, err := c.nic(0, 1, host)
			got := "slirp"
			switch {
			case err != nil:
				got = err.Error()
			case nic.Stream != nil:
				got = "passt"
				p, err := c.passt(&c.Interfaces[0], &nic)
				if told := fmt.Sprint(p.Forwards, p.Redirects); err != nil || told != tt.passt {
					t.Errorf("%s %s: passt is told %s, %v; want %s", tt.user, tt.forward, told, err, tt.passt)
				}
			}
			if got != want {
				t.Errorf("%s %s: the back-end with passt %v is %q; want %q", tt.user, tt.forward, host.Passt, got, want)
			}
		}
	}
}

// TestSlirpForwards: QEMU is told of ports of the host only. The others need
// nothing.
func TestSlirpForwards(t *testing.T) {
	c, err := Parse("x.toml", []byte(`
interfaces = [{ type = "user", id = "net" }]
forwardPorts = [
  { from = "guest", host.port = 80, guest.port = 80 },
  { host = { address = "::ffff:127.0.0.1", port = 80 }, guest.port = 81, proto = "udp" },
]`))
	if err != nil {
		t.Fatal(err)
	}
	nic, err := c.nic(0, 1, Host{Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	want := &qemu.UserNet{HostForwards: []qemu.HostForward{{UDP: true, HostAddr: netip.MustParseAddr("127.0.0.1"), HostPort: 80, GuestPort: 81}}}
	if diff := cmp.Diff(want, nic.User, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("QEMU is told otherwise (-want +got):\n%s", diff)
	}
	if r, err := c.ForwardPorts[0].resolve(); err != nil || r.guest.Addr() != sidecar.GatewayIPv4 || !r.direct() {
		t.Errorf("resolve() = %v, %v; want the gateway, as it is", r, err)
	}
}
