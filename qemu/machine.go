package qemu

import "strings"

// A Type is a QEMU machine type.
type Type string

// The machine types that mvm knows how to furnish. The last two may have QEMU's
// version in their names, as "pc-q35-7.2" and "virt-7.2".
const (
	// MicroVM is QEMU's minimal x86 machine: virtio-mmio, or PCI Express
	// when [Machine.NeedsPCI]. It boots fastest.
	MicroVM Type = "microvm"
	// Q35 is the full x86 PC, with PCI Express and memory hot-plug.
	Q35 Type = "q35"
	// Virt is the paravirtual aarch64 board.
	Virt Type = "virt"
)

// An Accel is what runs the guest's instructions.
type Accel string

// The accelerators.
const (
	TCG Accel = "tcg" // translation: slow, works everywhere
	KVM Accel = "kvm" // hardware virtualisation
)

// A Machine describes a virtual machine. The zero value is a microvm without
// any disk, network or console, translated by TCG; it has 512 MiB, one CPU and
// full sandboxing, and lacks only a Kernel to boot.
//
// Fields and elements called Why are for [Machine.Explain]: they name what
// asked for the element, as "volumes[1]".
type Machine struct {
	// Name is shown by QEMU and by process listings. Empty means "vm".
	Name string

	// Type is the machine type. Empty means MicroVM.
	Type Type

	// Options replaces the machine type's default options when it is not
	// nil. The accelerator and the memory backend are still added unless
	// Options has "accel" or "memory-backend".
	Options map[string]string

	// Accel is the accelerator. Empty means TCG.
	Accel Accel

	// CPU is QEMU's CPU model with its flags, as "host,-sgx". Empty means
	// the model that suits Type and Accel.
	CPU string

	// VCPU is the number of virtual CPUs. Zero means 1.
	VCPU int

	// Mem is the guest's memory in MiB. Zero means 512.
	Mem int

	// HotplugMem is the most memory in MiB that virtio-mem may add, and
	// HotpluggedMem how much of it is plugged at the start. Zero means none.
	// MicroVM cannot have any.
	HotplugMem    int
	HotpluggedMem int

	// HugePages backs the memory with the host's huge pages.
	HugePages bool

	// TSCKHz is the frequency of the host's time stamp counter in kHz, as
	// from a [TSCMeter]. Under TCG a guest needs it to keep time; see
	// [Machine.KernelParams]. Zero leaves the guest to find out by itself,
	// which fails on a busy host.
	TSCKHz int

	// Kernel and Initrd are files. Append is the whole kernel command line;
	// it should hold KernelParams. Initrd and Append may be empty.
	Kernel, Initrd, Append string

	// KernelFile and InitrdFile name inherited files to read instead, which
	// QEMU's user must be allowed to open anew; see [Machine.Files]. Kernel
	// and Initrd are then for people.
	KernelFile, InitrdFile string

	// Drives are disks, in the order in which the guest names them.
	Drives []Drive

	// Console gives the guest a serial port, [Process.Console] at this end.
	Console bool

	// Agent is the name of a virtio-serial port in the guest,
	// [Process.Agent] at this end. Empty means none.
	Agent string

	// MonitorFile names an inherited, listening socket on which QEMU takes QMP
	// from other programs, one at a time; MonitorSocket is its path, for
	// people. Empty means none.
	MonitorFile, MonitorSocket string

	// Balloon adds a balloon that returns free pages to the host;
	// DeflateOnOOM gives them back to a guest that runs out of memory.
	Balloon, DeflateOnOOM bool

	// UUID is the machine's identity in SMBIOS. Empty means none; QEMU then
	// shows zeros.
	UUID string

	// Vsock gives the guest an address for AF_VSOCK. Nil means none.
	Vsock *Vsock

	// Credentials are handed to systemd in the guest.
	Credentials []Credential

	// Shares are directories of the host that the guest can mount.
	Shares []Share

	// NICs are network cards.
	NICs []NIC

	// RootPorts are PCI Express ports for hot-plugging.
	RootPorts []RootPort

	// Devices are devices of the host that the guest gets for itself.
	Devices []HostDevice

	// Graphics gives the guest a display, keyboard and tablet. Nil means none.
	Graphics *Graphics

	// PCI asks for PCI Express on a MicroVM that would do without.
	PCI bool

	// AllowReset lets a guest's reboot reset the machine. The zero value
	// ends QEMU instead, with a SHUTDOWN event whose reason is
	// "guest-reset".
	AllowReset bool

	// NoSandbox runs QEMU without its seccomp filter. The zero value denies
	// whatever QEMU does not need when all its files are opened for it.
	NoSandbox bool

	// Standalone makes a command for a person to paste into a shell: it runs
	// at once, has console and monitor on its terminal, no QMP, and nobody at
	// the other end of the agent's port. It inherits no file but opens all by
	// their paths. Start refuses it.
	Standalone bool

	// ExtraArgs are appended as they are. A "-sandbox" among them takes the
	// place of the machine's own.
	ExtraArgs []string
}

// machineType returns Type or its default.
func (m *Machine) machineType() Type { return or(m.Type, MicroVM) }

// family returns the machine type without QEMU's version: "pc-q35-7.2" is a Q35.
func (t Type) family() Type {
	if name, _, ok := strings.Cut(strings.TrimPrefix(string(t), "pc-"), "-"); ok {
		return Type(name)
	}
	return or(t, MicroVM)
}

// family is that of the machine's type.
func (m *Machine) family() Type { return m.Type.family() }

func (m *Machine) accel() Accel { return or(m.Accel, TCG) }
func (m *Machine) mem() int     { return or(m.Mem, 512) }
func (m *Machine) vcpu() int    { return or(m.VCPU, 1) }

// x86 reports whether the machine is a PC of some kind.
func (m *Machine) x86() bool { return m.family() != Virt }

// HasKeyboard reports whether [QMP.CtrlAltDel] reaches the guest.
func (m *Machine) HasKeyboard() bool { return m.x86() }

// sharedMemory reports whether another process maps the guest's memory, which
// is so when a vhost-user device exists. Otherwise it stays private, so that
// the host's kernel may merge equal pages.
func (m *Machine) sharedMemory() bool {
	for _, s := range m.Shares {
		if s.virtiofs() {
			return true
		}
	}
	return false
}

// or returns v, or d when v is its type's zero value.
func or[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
