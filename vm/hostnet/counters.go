package hostnet

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// Counters are what has passed through a device since it was made, as the guest
// sees it.
type Counters struct {
	ReceivedBytes, SentBytes     uint64
	ReceivedPackets, SentPackets uint64

	// Dropped packets are lost: those for the guest that it did not fetch in
	// time, and those of its own that nobody took.
	ReceivedDropped, SentDropped uint64
}

// Counters asks the kernel. It may be called at any time; a device that is gone
// is an error.
func (d *Device) Counters() (Counters, error) {
	l, err := netlink.LinkByIndex(d.number)
	if err != nil {
		return Counters{}, fmt.Errorf("count the packets of %v: %w", &d.spec, err)
	}
	s := l.Attrs().Statistics
	if s == nil {
		return Counters{}, fmt.Errorf("count the packets of %v: the kernel tells none", &d.spec)
	}
	c := Counters{
		ReceivedBytes: s.RxBytes, SentBytes: s.TxBytes,
		ReceivedPackets: s.RxPackets, SentPackets: s.TxPackets,
		ReceivedDropped: s.RxDropped, SentDropped: s.TxDropped,
	}
	if d.spec.kind() == Tap {
		// The host's end of a cable sends what the guest receives.
		c = Counters{
			ReceivedBytes: s.TxBytes, SentBytes: s.RxBytes,
			ReceivedPackets: s.TxPackets, SentPackets: s.RxPackets,
			ReceivedDropped: s.TxDropped, SentDropped: s.RxDropped,
		}
	}
	return c, nil
}
