package sidecar

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
)

// A Redirect is a place that the guest finds elsewhere: what it sends to From
// goes to To, and the answers seem to come from From. Both are of one family.
type Redirect struct {
	UDP bool

	// From is an address and a port that the guest connects to.
	From netip.AddrPort

	// To is where it ends up: 127.0.0.1 or ::1 of the host, or an address that
	// the host reaches.
	To netip.AddrPort
}

// A redirector rewrites the guest's frames for its redirects. It holds no
// connections: TCP stays between the guest and passt.
type redirector struct {
	rules []*redirect

	mu sync.Mutex // one goroutine rewrites each direction
}

// A redirect is a Redirect in the words of frames.
type redirect struct {
	proto    byte
	from, to []byte // addresses, of 4 or of 16 bytes
	fromPort uint16
	toPort   uint16

	// The guest may also go to the destination itself, from other ports.
	ports [65536 / 64]uint64 // those from which it last went to from
}

func newRedirector(list []Redirect) (*redirector, error) {
	r := new(redirector)
	for _, l := range list {
		if !l.From.IsValid() || !l.To.IsValid() || l.From.Addr().Is4() != l.To.Addr().Is4() || l.From.Port() == 0 || l.To.Port() == 0 {
			return nil, errors.New("a redirect needs two addresses of one kind, and two ports")
		}
		rule := &redirect{proto: protoTCP, from: l.From.Addr().AsSlice(), fromPort: l.From.Port(), toPort: l.To.Port()}
		if l.UDP {
			rule.proto = protoUDP
		}
		// To passt, the host itself is the gateway.
		to := l.To.Addr()
		if to.IsLoopback() {
			if to = GatewayIPv4; l.To.Addr().Is6() {
				to = GatewayIPv6
			}
		}
		rule.to = to.AsSlice()
		r.rules = append(r.rules, rule)
	}
	return r, nil
}

const (
	protoTCP = 6
	protoUDP = 17
)

// A packet is where a frame has what a redirect looks at.
type packet struct {
	proto    byte
	src, dst []byte // addresses
	ports    []byte // four bytes: source, destination
	headSum  []byte // the IPv4 header's checksum, or nil
	sum      []byte // that of TCP or UDP
}

// parseFrame finds the addresses and ports of a frame. It reports false for
// what has none: other protocols, fragments, IPv6 with extension headers.
func parseFrame(f []byte) (p packet, ok bool) {
	const head4, head6 = 20, 40
	if len(f) < etherType+2 {
		return p, false
	}
	ip := f[etherType+2:]
	var payload []byte
	switch binary.BigEndian.Uint16(f[etherType:]) {
	case 0x0800:
		if len(ip) < head4 || ip[0]>>4 != 4 {
			return p, false
		}
		size := int(ip[0]&0xf) * 4
		fragment := binary.BigEndian.Uint16(ip[6:]) & 0x3fff // more to come, or not the first
		if size < head4 || size > len(ip) || fragment != 0 {
			return p, false
		}
		p.proto, p.src, p.dst, p.headSum, payload = ip[9], ip[12:16], ip[16:20], ip[10:12], ip[size:]
	case 0x86dd:
		if len(ip) < head6 || ip[0]>>4 != 6 {
			return p, false
		}
		p.proto, p.src, p.dst, payload = ip[6], ip[8:24], ip[24:40], ip[head6:]
	default:
		return p, false
	}
	at := map[byte]int{protoTCP: 16, protoUDP: 6}[p.proto] // of the checksum
	if at == 0 || len(payload) < at+2 {
		return p, false
	}
	p.ports, p.sum = payload[:4], payload[at:at+2]
	return p, true
}

// fromGuest rewrites a frame of the guest's in place.
func (r *redirector) fromGuest(frame []byte) {
	p, ok := parseFrame(frame)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	src, dst := binary.BigEndian.Uint16(p.ports), binary.BigEndian.Uint16(p.ports[2:])
	for _, rule := range r.rules {
		if rule.proto != p.proto {
			continue
		}
		if dst == rule.fromPort && string(p.dst) == string(rule.from) {
			rule.ports[src/64] |= 1 << (src % 64)
			p.rewrite(p.dst, rule.to, p.ports[2:], rule.toPort)
			return
		}
	}
	for _, rule := range r.rules {
		if rule.proto == p.proto && dst == rule.toPort && string(p.dst) == string(rule.to) {
			rule.ports[src/64] &^= 1 << (src % 64)
		}
	}
}

// toGuest rewrites a frame for the guest in place.
func (r *redirector) toGuest(frame []byte) {
	p, ok := parseFrame(frame)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	src, dst := binary.BigEndian.Uint16(p.ports), binary.BigEndian.Uint16(p.ports[2:])
	for _, rule := range r.rules {
		if rule.proto == p.proto && src == rule.toPort && string(p.src) == string(rule.to) && rule.ports[dst/64]>>(dst%64)&1 == 1 {
			p.rewrite(p.src, rule.from, p.ports[:2], rule.fromPort)
			return
		}
	}
}

// rewrite puts other values for an address and a port, and corrects the
// checksums for the difference (RFC 1624).
func (p *packet) rewrite(address, newAddress, port []byte, newPort uint16) {
	number := binary.BigEndian.AppendUint16(nil, newPort)
	if p.headSum != nil {
		adjust(p.headSum, address, newAddress)
	}
	// A UDP checksum of 0 means that there is none.
	if p.proto != protoUDP || p.sum[0]|p.sum[1] != 0 {
		adjust(p.sum, address, newAddress)
		adjust(p.sum, port, number)
		if p.proto == protoUDP && p.sum[0]|p.sum[1] == 0 {
			p.sum[0], p.sum[1] = 0xff, 0xff
		}
	}
	copy(address, newAddress)
	copy(port, number)
}

// adjust corrects a checksum for a change of words that it covers.
func adjust(sum, before, after []byte) {
	n := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < len(before); i += 2 {
		n += uint32(^binary.BigEndian.Uint16(before[i:])) + uint32(binary.BigEndian.Uint16(after[i:]))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	binary.BigEndian.PutUint16(sum, ^uint16(n))
}
