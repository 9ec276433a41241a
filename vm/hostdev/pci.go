package hostdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sys and dev are where the kernel shows its devices. Tests have others.
var (
	sys = "/sys"
	dev = "/dev"
)

// vfio is the driver that hands devices on.
const vfio = "vfio-pci"

// A device is a PCI device of this host and whose it was.
type device struct {
	Address  string `json:"address"`            // with its domain
	Driver   string `json:"driver,omitempty"`   // empty for none
	Override string `json:"override,omitempty"` // of the driver, by somebody else
	group    string // of the IOMMU
}

// find looks a device up by its address, with or without the domain.
func find(address string) (*device, error) {
	address = strings.ToLower(address)
	if strings.Count(address, ":") == 1 {
		address = "0000:" + address
	}
	op := "find PCI device " + address
	d := &device{Address: address}
	if _, err := os.Stat(d.path("")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("this host has none at that address")
		}
		return nil, &HostError{Op: op, Err: err, Hint: "lspci -D lists the addresses"}
	}
	d.Driver = linkName(d.path("driver"))
	if b, err := os.ReadFile(d.path("driver_override")); err == nil && string(b) != "(null)\n" {
		d.Override = strings.TrimSpace(string(b))
	}
	if d.group = linkName(d.path("iommu_group")); d.group == "" {
		return nil, &HostError{Op: op, Err: errors.New("it is in no IOMMU group, so nothing would keep the guest from the host's memory"),
			Hint: "switch the IOMMU on, in the firmware and with intel_iommu=on or amd_iommu=on on the host's kernel command line"}
	}
	return d, nil
}

func (d *device) path(file string) string {
	return filepath.Join(sys, "bus/pci/devices", d.Address, file)
}

// linkName is the last part of what a link points to, "" without one.
func linkName(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// groupFile is what QEMU opens for the group of the IOMMU.
func (d *device) groupFile() string { return filepath.Join(dev, "vfio", d.group) }

// inUse reports that a process has the device's group, which only one can.
func (d *device) inUse() bool {
	f, err := os.OpenFile(d.groupFile(), os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.EBUSY)
}

// bind gives the device to vfio-pci.
func (d *device) bind() error {
	op := "give " + d.Address + " to " + vfio
	if err := d.change(vfio); err != nil {
		return changeError(op, err)
	}
	if now := linkName(d.path("driver")); now != vfio {
		return changeError(op, fmt.Errorf("its driver is %s afterwards", orNone(now)))
	}
	return nil
}

// restore gives the device back. It does nothing if vfio-pci has it no longer.
func (d *device) restore() error {
	op := "give " + d.Address + " back to " + orNone(d.Driver)
	if linkName(d.path("driver")) != vfio {
		return nil
	}
	if d.inUse() {
		// To take it away now would wait for whoever has it.
		return changeError(op, errors.New("a process still uses it"))
	}
	if d.Driver == "" {
		return d.release(op)
	}
	if err := d.change(d.Override); err != nil {
		return changeError(op, err)
	}
	if linkName(d.path("driver")) == d.Driver {
		return nil
	}
	// Another driver was quicker, or it takes the device only when told.
	if err := d.unbind(); err != nil {
		return changeError(op, err)
	}
	if err := tell(filepath.Join(sys, "bus/pci/drivers", d.Driver, "bind"), d.Address); err != nil {
		return changeError(op, err)
	}
	return nil
}

// release leaves the device without a driver.
func (d *device) release(op string) error {
	err := d.unbind()
	if err == nil {
		err = tell(d.path("driver_override"), d.Override+"\n")
	}
	if err != nil {
		return changeError(op, err)
	}
	return nil
}

// change has the kernel choose the device's driver anew, with an override or, if
// that is empty, by its own rules.
func (d *device) change(override string) error {
	if err := tell(d.path("driver_override"), override+"\n"); err != nil {
		return err
	}
	if err := d.unbind(); err != nil {
		return err
	}
	return tell(filepath.Join(sys, "bus/pci/drivers_probe"), d.Address)
}

// unbind takes the device from its driver, if it has one.
func (d *device) unbind() error {
	err := tell(d.path("driver/unbind"), d.Address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tell writes to a file of the kernel's, in one write.
func tell(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

func orNone(driver string) string {
	if driver == "" {
		return "no driver"
	}
	return driver
}

// loadDriver makes sure that there is a vfio-pci.
func loadDriver() error {
	there := func() bool {
		_, err := os.Stat(filepath.Join(sys, "bus/pci/drivers", vfio))
		return err == nil
	}
	if there() {
		return nil
	}
	err := errors.New("it is not loaded")
	if out, merr := exec.Command("modprobe", vfio).CombinedOutput(); merr != nil {
		err = fmt.Errorf("%w, and modprobe says: %s", err, firstLine(string(out), merr))
	}
	if there() {
		return nil
	}
	return &HostError{Op: "find the driver " + vfio, Err: err, Hint: "load it before the machine starts: modprobe vfio-pci"}
}

// firstLine is the first line of a program's output or, if it said nothing, how it
// ended.
func firstLine(out string, err error) string {
	if line, _, _ := strings.Cut(strings.TrimSpace(out), "\n"); line != "" {
		return line
	}
	return err.Error()
}
