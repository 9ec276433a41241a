package hostdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// harmless are drivers of devices in a group that leave all of it to a guest: the
// kernel counts them as no use by the host.
var harmless = []string{"", vfio, "pci-stub", "pcieport"}

// checkGroup finds out whether the whole of a device's group can be handed on, of
// which wanted are given to the machine. The IOMMU tells the devices of a group
// apart no more than a guest could be kept from the others.
func (d *device) checkGroup(wanted []*device) error {
	entries, err := os.ReadDir(filepath.Join(sys, "kernel/iommu_groups", d.group, "devices"))
	if err != nil {
		return err
	}
	var others []string
	for _, e := range entries {
		if slices.ContainsFunc(wanted, func(w *device) bool { return w.Address == e.Name() }) {
			continue
		}
		o := &device{Address: e.Name()}
		class, err := os.ReadFile(o.path("class"))
		if err == nil && strings.HasPrefix(string(class), "0x0604") {
			continue // a bridge, which the kernel drives for all that is behind it
		}
		if driver := linkName(o.path("driver")); !slices.Contains(harmless, driver) {
			others = append(others, fmt.Sprintf("%s (%s)", o.Address, driver))
		}
	}
	op := "hand on PCI device " + d.Address
	switch {
	case len(others) > 0:
		return &HostError{Op: op, Err: fmt.Errorf("the host uses others of its IOMMU group %s: %s", d.group, strings.Join(others, ", ")),
			Hint: "give the machine all of them as devices, or take them from their drivers"}
	case d.Driver == vfio && d.inUse():
		return &HostError{Op: op, Err: errors.New("another machine has it, or one of its IOMMU group " + d.group),
			Hint: "stop the other machine"}
	}
	return nil
}
