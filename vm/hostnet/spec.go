package hostnet

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode"

	"github.com/vishvananda/netlink"
)

// A Kind is a kind of device.
type Kind string

// The kinds.
const (
	Tap     Kind = "tap"     // a cable whose other end QEMU holds
	Macvtap Kind = "macvtap" // a second address on one of the host's cards
)

// A Spec describes a device.
type Spec struct {
	// Kind is the kind of device. Empty means Tap.
	Kind Kind

	// Name is the device's name on the host, 1 to 15 bytes.
	Name string

	// Machine is the name of the machine that it is for. It has no colon.
	Machine string

	// MAC is the guest's address. A Macvtap needs it, since only frames for
	// it reach the guest, except in mode "passthru", where all do. For a Tap
	// it may be nil; see Bridge.
	MAC net.HardwareAddr

	// Queues is how many queues the device has; QEMU serves each by a thread
	// of its own when the guest has as many CPUs. Zero means 1.
	Queues int

	// VHost gives QEMU a /dev/vhost-net for each queue, so that the host's
	// kernel moves the frames.
	VHost bool

	// Owner and Group may open a Tap besides root. Zero is root.
	Owner, Group int

	// Bridge is an existing bridge to attach a Tap to. Empty means none.
	//
	// A bridge without an address of its own takes the lowest of its ports',
	// so the host's end of the tap then gets a high one, made from MAC:
	// bridges do not change their address when a machine comes or goes.
	Bridge string

	// Helper lets a process that may not make devices ask QEMU's set-uid
	// helper for a Tap on Bridge. Its name is then not Name.
	Helper bool

	// Link is the card that a Macvtap sits on.
	Link string

	// Mode is a Macvtap's mode: "private", "vepa", "bridge", "passthru" or
	// "source". Empty means "bridge".
	Mode string
}

// modes are the macvtap modes by the names that ip-link(8) has for them.
var modes = map[string]netlink.MacvlanMode{
	"":         netlink.MACVLAN_MODE_BRIDGE,
	"private":  netlink.MACVLAN_MODE_PRIVATE,
	"vepa":     netlink.MACVLAN_MODE_VEPA,
	"bridge":   netlink.MACVLAN_MODE_BRIDGE,
	"passthru": netlink.MACVLAN_MODE_PASSTHRU,
	"source":   netlink.MACVLAN_MODE_SOURCE,
}

// maxQueues is the kernel's limit for a tap and for a macvtap (MAX_TAP_QUEUES).
const maxQueues = 256

// Check says what is wrong with s, without looking at the host.
func (s *Spec) Check() error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	switch {
	case s.Machine == "" || strings.Contains(s.Machine, ":") || len(s.Machine) > maxMachine:
		return fmt.Errorf("the machine's name %q does not fit into a device's alias", s.Machine)
	case s.Queues < 0 || s.Queues > maxQueues:
		return fmt.Errorf("%d queues are not between 1 and %d", s.Queues, maxQueues)
	case len(s.MAC) != 0 && len(s.MAC) != 6:
		return fmt.Errorf("%v is not an Ethernet address", s.MAC)
	case len(s.MAC) == 6 && s.MAC[0]&1 != 0:
		return fmt.Errorf("%v is a group's address", s.MAC)
	}
	switch s.kind() {
	case Tap:
		if s.Link != "" || s.Mode != "" {
			return errors.New("a tap has no link and no mode")
		}
		if s.Helper && (s.Bridge == "" || s.queues() > 1) {
			return errors.New("the helper makes taps with one queue, on a bridge")
		}
		if s.Bridge != "" {
			return checkName(s.Bridge)
		}
		return nil
	case Macvtap:
		if s.Bridge != "" || s.Owner != 0 || s.Group != 0 {
			return errors.New("a macvtap has no bridge and no owner")
		}
		if len(s.MAC) == 0 {
			return errors.New("a macvtap needs the guest's address")
		}
		if _, ok := modes[s.Mode]; !ok {
			return fmt.Errorf("macvtap mode %q is none of private, vepa, bridge, passthru, source", s.Mode)
		}
		return checkName(s.Link)
	}
	return fmt.Errorf("%q is not a kind of device", s.Kind)
}

// checkName refuses what the kernel would refuse, cut (over 15 bytes, without a
// word) or take for a pattern ("tap%d").
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a device has no name")
	case len(name) > 15:
		return fmt.Errorf("the device name %q has %d bytes; the kernel allows 15", name, len(name))
	case name == "." || name == ".." || strings.ContainsAny(name, "/:%\x00") || strings.ContainsFunc(name, unicode.IsSpace):
		return fmt.Errorf("%q cannot be a device's name", name)
	}
	return nil
}

func (s *Spec) kind() Kind {
	if s.Kind == "" {
		return Tap
	}
	return s.Kind
}

func (s *Spec) queues() int { return max(s.Queues, 1) }

// String returns "tap vm0".
func (s *Spec) String() string { return string(s.kind()) + " " + s.Name }
