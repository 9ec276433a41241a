package vm

import (
	"fmt"
	"strconv"

	"github.com/mvmrun/mvm/qemu"
)

// extraDevices adds what most machines do not have.
func (c *Config) extraDevices(m *qemu.Machine, host Host) error {
	m.Credentials = c.withMachineID(c.credentials(host.Notify))
	switch cid := c.VSock.CID; {
	case cid == CIDAuto && host.CID == 0:
		return fmt.Errorf("vsock.cid: no free address was picked")
	case cid == CIDAuto:
		m.Vsock = &qemu.Vsock{CID: host.CID, File: vsockFile}
	case cid != 0:
		m.Vsock = &qemu.Vsock{CID: uint32(cid), File: vsockFile}
	}
	for i := range c.QEMU.PCIERootPorts {
		p := &c.QEMU.PCIERootPorts[i]
		port := qemu.RootPort{ID: p.ID, Bus: p.Bus, Slot: p.Slot, Addr: p.Addr, Why: fmt.Sprintf("qemu.pcieRootPorts[%d]", i)}
		if p.Chassis != nil {
			port.Chassis = strconv.Itoa(*p.Chassis)
		}
		m.RootPorts = append(m.RootPorts, port)
	}
	for i := range c.Devices {
		d, err := hostDevice(&c.Devices[i])
		if err != nil {
			return fmt.Errorf("devices[%d]: %w", i, err)
		}
		d.Why = fmt.Sprintf("devices[%d]", i)
		m.Devices = append(m.Devices, d)
	}
	if c.Graphics.Enable {
		m.Graphics = c.graphics()
	}
	return nil
}

func hostDevice(d *Device) (qemu.HostDevice, error) {
	h := qemu.HostDevice{ID: d.QEMU.ID, Bus: d.QEMU.Bus}
	var err error
	if h.Extra, err = qemu.ParseProps(d.QEMU.DeviceExtraArgs); err != nil {
		return h, fmt.Errorf("qemu.deviceExtraArgs: %w", err)
	}
	if d.Bus == "pci" {
		h.PCI = d.Path
		return h, nil
	}
	if h.USB, err = qemu.ParseProps(d.Path); err != nil {
		return h, fmt.Errorf("path: %w", err)
	}
	return h, nil
}

// graphics is a display with the properties that vulkan takes.
func (c *Config) graphics() *qemu.Graphics {
	g := &qemu.Graphics{Backend: c.Graphics.Display()}
	if v := c.Graphics.Vulkan; v != "" {
		g.Extra = []qemu.Prop{{Key: "blob", Value: "true"}, {Key: "hostmem", Value: c.Graphics.HostWindow()}, {Key: v, Value: "true"}}
	}
	return g
}
