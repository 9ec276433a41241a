package qemu

import "strconv"

// mmioSlots is how many virtio-mmio transports a microvm has: 24 with the
// second I/O APIC that it gets by default (QEMU's hw/i386/microvm.c).
const mmioSlots = 24

// NeedsPCI reports whether the machine has PCI Express. Q35 and Virt always
// do. A MicroVM does when it is asked to or has something that cannot sit on
// virtio-mmio.
func (m *Machine) NeedsPCI() bool {
	if m.machineType() != MicroVM || m.PCI || m.Graphics != nil {
		return true
	}
	if len(m.Devices) > 0 || len(m.RootPorts) > 0 || m.HotplugMem > 0 {
		return true
	}
	return m.virtioDevices() > mmioSlots
}

func (m *Machine) virtioDevices() int {
	n := 1 + len(m.Drives) + len(m.Shares) + len(m.NICs) // 1 for the rng
	for _, has := range []bool{m.Agent != "", m.Balloon, m.Vsock != nil} {
		if has {
			n++
		}
	}
	return n
}

// needsPIT reports whether a microvm's guest has to time its TSC by a PIT,
// since nothing tells it the frequency. Under KVM the paravirtual clock does.
func (m *Machine) needsPIT() bool { return m.accel() == TCG && m.TSCKHz == 0 }

// KernelParams returns what the kernel's command line must hold for this
// machine to be heard, to keep time, and to end when its kernel panics.
func (m *Machine) KernelParams() []string {
	var p []string
	if m.Console {
		if m.x86() {
			p = append(p, "console=ttyS0")
		} else {
			p = append(p, "console=ttyAMA0")
		}
	}
	if m.x86() {
		// A triple fault is a reset that every machine type has.
		p = append(p, "reboot=t")
	}
	p = append(p, "panic=-1")
	if m.machineType() == MicroVM && m.accel() == TCG && m.TSCKHz > 0 {
		// The TSC is the only good clock, and under TCG it is the host's.
		// Without a PIT the kernel cannot measure it and hangs; with one
		// it may measure badly on a busy host. The kernel must then also
		// be kept from judging the TSC by a worse clock.
		p = append(p, "tsc_early_khz="+strconv.Itoa(m.TSCKHz), "tsc=reliable")
	}
	return p
}
