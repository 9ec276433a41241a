package qemu

import (
	"bytes"
	"strconv"
)

// mmioSlots is how many virtio-mmio transports a microvm has: 24 with the
// second I/O APIC that it gets by default (QEMU's hw/i386/microvm.c).
const mmioSlots = 24

// NeedsPCI reports whether the machine has PCI Express. Q35 and Virt always
// do. A MicroVM does when it is asked to or has something that cannot sit on
// virtio-mmio.
func (m *Machine) NeedsPCI() bool {
	if m.family() != MicroVM || m.PCI || m.Graphics != nil {
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
// The PIT serves for nothing else: on a machine with reduced ACPI hardware,
// which the microvm is, Linux takes no interrupts from it.
func (m *Machine) needsPIT() bool { return m.accel() == TCG && m.TSCKHz == 0 }

// WithoutClock reports whether a guest's console shows that its kernel found no
// clock to live by: it will then hang, now or at the first thing that sleeps.
//
// Under TCG that happens to a MicroVM's guest when the host is so busy that
// QEMU stands still for a tenth of a second at the very moment at which the
// kernel calibrates the local APIC's timer. Nothing on the kernel's command
// line or QEMU's prevents it; starting again helps, and so does a less busy
// host, or a Q35, whose guests have other clocks.
func WithoutClock(console []byte) bool {
	for _, sign := range []string{
		"APIC frequency too slow, disabling apic timer", // arch/x86/kernel/apic/apic.c
		"could not calculate TSC khz",                   // arch/x86/kernel/tsc.c
	} {
		if bytes.Contains(console, []byte(sign)) {
			return true
		}
	}
	return false
}

// KernelParams returns what the kernel's command line must hold for this
// machine to be heard, to keep time, to use the memory that it is given later,
// and to end when its kernel panics.
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
	if m.HotplugMem > 0 {
		// Linux otherwise leaves plugged memory unused until somebody asks
		// for it, and then may put into it what cannot be moved out again
		// (Documentation/admin-guide/mm/memory-hotplug.rst).
		p = append(p, "memhp_default_state=online", "memory_hotplug.online_policy=auto-movable")
	}
	if m.x86() && m.accel() == TCG {
		p = append(p, m.clockParams()...)
	}
	return p
}

// clockParams keep a kernel from measuring, under TCG, what a busy host lets
// nobody measure.
func (m *Machine) clockParams() []string {
	var p []string
	if m.family() != MicroVM {
		// "IO-APIC + timer doesn't work!" is a panic, after a timer that
		// does work was late. Under KVM Linux leaves the check out itself.
		p = append(p, "no_timer_check")
	}
	if m.TSCKHz > 0 {
		// Under TCG the TSC is the host's. On a MicroVM it is the only
		// clock: without a PIT the kernel cannot measure it and hangs;
		// with one it measures badly on a busy host and hangs too.
		p = append(p, "tsc_early_khz="+strconv.Itoa(m.TSCKHz), "tsc=reliable")
	}
	return p
}
