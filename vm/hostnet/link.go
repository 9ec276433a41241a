package hostnet

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// byName returns a device, or nil if there is none of that name.
func byName(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for device %s: %w", name, err)
	}
	return l, nil
}

// remove removes the device with that index. The kernel does not give an index
// out again, so this cannot hit a device that has since got the same name. One
// that is gone is removed.
func remove(index int) error {
	err := netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// dumpTries is how often a list is asked for when the kernel says that it has
// changed while it was read.
const dumpTries = 10

// list returns all devices.
func list() ([]netlink.Link, error) {
	for range dumpTries {
		links, err := netlink.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return links, err
		}
	}
	return nil, fmt.Errorf("list devices: the list changed %d times while it was read", dumpTries)
}

// Sweep removes the devices of a machine whose owner is dead, or of every
// machine if the name is empty, and returns the names of those that it removed.
func Sweep(machine string) ([]string, error) {
	links, err := list()
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, l := range links {
		a := l.Attrs()
		o, ok := parseAlias(a.Alias)
		if !ok || machine != "" && o.machine != machine || !o.dead() {
			continue
		}
		if err := remove(a.Index); err != nil {
			errs = append(errs, fmt.Errorf("remove %s of %v: %w", a.Name, o, err))
			continue
		}
		removed = append(removed, a.Name)
	}
	return removed, errors.Join(errs...)
}

// reclaim makes room for s if a dead machine's device has its name. Otherwise
// the error says whose it is.
func (s *Spec) reclaim() error {
	l, err := byName(s.Name)
	if l == nil {
		return err // it is gone by now
	}
	a := l.Attrs()
	o, ok := parseAlias(a.Alias)
	switch {
	case !ok:
		return &HostError{Op: "make " + s.String(), Err: fmt.Errorf("%w by a device that is not mvm's, of type %s", ErrTaken, l.Type()),
			Hint: "give the interface another id, or remove the device: ip link delete " + s.Name}
	case !o.dead():
		return &HostError{Op: "make " + s.String(), Err: fmt.Errorf("%w by %v", ErrTaken, o),
			Hint: "stop that machine, or give one of the two another interface id"}
	}
	if err := remove(a.Index); err != nil {
		return &HostError{Op: "make " + s.String(), Err: fmt.Errorf("remove what %v left: %w", o, err),
			Hint: "run as root, or remove it: ip link delete " + s.Name}
	}
	return nil
}

// quiet keeps the host's own IPv6 off a device. The host would otherwise claim
// addresses there that are made from the guest's.
func quiet(name string) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // this kernel has no IPv6
	}
	return err
}
