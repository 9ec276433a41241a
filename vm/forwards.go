package vm

import (
	"fmt"
	"net/netip"

	"github.com/mvmrun/mvm/vm/sidecar"
)

// A forward is a [ForwardPort] with what it leaves out filled in.
type forward struct {
	fromGuest, udp bool

	// host and guest are where one side listens and the other is connected to.
	// Of a port that the host connects to, an address that is not valid is
	// every address of the host, or the guest's own.
	host, guest netip.AddrPort
}

// resolve reads the addresses of f.
func (f *ForwardPort) resolve() (forward, error) {
	r := forward{fromGuest: f.Direction() == "guest", udp: f.Protocol() == "udp"}
	host, err := forwardAddr(f.Host.Address)
	if err != nil {
		return r, fmt.Errorf("host.address: %w", err)
	}
	guest, err := forwardAddr(f.Guest.Address)
	if err != nil {
		return r, fmt.Errorf("guest.address: %w", err)
	}
	if r.fromGuest {
		gateway, loopback := sidecar.GatewayIPv4, netip.MustParseAddr("127.0.0.1")
		if host.Is6() || guest.Is6() {
			gateway, loopback = sidecar.GatewayIPv6, netip.IPv6Loopback()
		}
		if !guest.IsValid() {
			guest = gateway
		}
		if !host.IsValid() {
			host = loopback
		}
	}
	if !r.fromGuest && guest.Is6() && !host.IsValid() {
		host = netip.IPv6Unspecified()
	}
	r.host, r.guest = netip.AddrPortFrom(host, uint16(f.Host.Port)), netip.AddrPortFrom(guest, uint16(f.Guest.Port))
	return r, nil
}

// forwardAddr parses the address of a forward; the empty one is the zero Addr.
func forwardAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err
}

func (r forward) ipv6() bool { return r.host.Addr().Is6() || r.guest.Addr().Is6() }

// needs returns the back-end without which r cannot be had, and why, or "" if
// either will do.
func (r forward) needs() (backend, why string) {
	switch {
	case r.fromGuest && r.answersAstray():
		return "slirp", "passt sends answers by UDP from ::1 to another address of the guest's"
	case r.fromGuest && !r.direct():
		return "passt", "QEMU's own network leads only from the guest's gateway to the same port of the host's loopback"
	case r.fromGuest:
		return "", ""
	case r.ipv6():
		return "passt", "QEMU's own network forwards no ports to a guest over IPv6"
	case r.guest.Addr().IsValid() && r.guest.Addr() != sidecar.GuestIPv4:
		return "slirp", fmt.Sprintf("passt forwards to the address that it gives the guest, %v", sidecar.GuestIPv4)
	}
	return "", ""
}

// direct reports whether either back-end does r by itself: to both, the gateway
// is the host's loopback.
func (r forward) direct() bool {
	gateway := r.guest.Addr() == sidecar.GatewayIPv4 || r.guest.Addr() == sidecar.GatewayIPv6
	return gateway && isLoopback(r.host.Addr()) && r.host.Port() == r.guest.Port()
}

// answersAstray reports whether passt (of 2023 at least) would answer from and to
// link-local addresses.
func (r forward) answersAstray() bool {
	return r.udp && r.host.Addr() == netip.IPv6Loopback()
}

// isLoopback reports whether a is the address of the host that a gateway
// stands for. There are other loopback addresses.
func isLoopback(a netip.Addr) bool {
	return a == netip.MustParseAddr("127.0.0.1") || a == netip.IPv6Loopback()
}

// trouble is what is wrong with the addresses of r, and with which: "host" or
// "guest".
func (r forward) trouble() (side, text, hint string) {
	host, guest := r.host.Addr(), r.guest.Addr()
	switch {
	case host.IsValid() && guest.IsValid() && host.Is4() != guest.Is4():
		return "guest", "one address is of IPv4 and the other of IPv6, and nothing translates between them", ""
	case !r.fromGuest && guest.Is6() && guest != sidecar.GuestIPv6:
		return "guest", fmt.Sprintf("passt forwards to the address that it gives the guest, %v", sidecar.GuestIPv6), "leave it out"
	case !r.fromGuest:
		return "", "", ""
	case guest == sidecar.GuestIPv4 || guest == sidecar.GuestIPv6 || !outside(guest):
		return "guest", fmt.Sprintf("a guest that connects to %v reaches itself, or nobody", guest), "leave it out for the guest's gateway"
	case r.answersAstray() && !r.direct():
		return "host", "passt sends answers by UDP from ::1 to another address of the guest's", "use IPv4, or the guest's gateway, fec0::2, and the same port on both sides"
	case !isLoopback(host) && !outside(host):
		return "host", fmt.Sprintf("%v cannot be connected to for the guest", host), "write 127.0.0.1, ::1 or an address of another machine"
	}
	return "", "", ""
}

// outside reports whether a may belong to another machine.
func outside(a netip.Addr) bool {
	return a.IsGlobalUnicast() // private ones too
}

// clashes reports whether two forwards cannot listen at once.
func (r forward) clashes(s forward) bool {
	if r.fromGuest != s.fromGuest || r.udp != s.udp {
		return false
	}
	if r.fromGuest {
		return r.guest == s.guest
	}
	a, b := r.host.Addr(), s.host.Addr()
	return r.host.Port() == s.host.Port() && (a == b || everywhere(a) || everywhere(b))
}

func everywhere(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
