package qemu

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Flag is one option of QEMU's command line and the reason for it.
type Flag struct {
	// Args is the option and its value, if it has one.
	Args []string
	// Why is the key of a definition that asked for it, or a few words when
	// every machine has it.
	Why string
}

// Descriptors of the files that Start makes. Those of Machine.Files follow.
const (
	fdQMP = 3 + iota
	fdConsole
	fdAgent
	fdFirst
)

// Args returns QEMU's arguments, without the program's name. The same machine
// gives the same arguments. Args does not judge: see [Machine.Check].
func (m *Machine) Args() []string {
	var args []string
	for _, f := range m.Explain() {
		args = append(args, f.Args...)
	}
	return args
}

// Explain returns the arguments of Args, in the same order, each with what
// caused it.
func (m *Machine) Explain() []Flag { return m.build().flags }

// Files returns the names of the files that QEMU inherits, in the order of
// their descriptors.
func (m *Machine) Files() []string { return m.build().files }

// A builder collects a command line. The order of the calls in build is the
// one place that decides the order of the flags.
type builder struct {
	*Machine
	flags []Flag
	files []string
	pci   bool
}

func (m *Machine) build() *builder {
	b := &builder{Machine: m, pci: m.NeedsPCI()}
	b.basics()
	b.processor()
	b.memory()
	b.boot()
	b.channels()
	b.firmware()
	b.rootPorts()
	b.drives()
	b.balloon()
	b.shares()
	b.nics()
	b.vsock()
	b.devices()
	b.graphics()
	if len(m.ExtraArgs) > 0 {
		b.add("qemu.extraArgs", m.ExtraArgs...)
	}
	return b
}

func (b *builder) add(why string, args ...string) {
	b.flags = append(b.flags, Flag{Args: args, Why: why})
}

func (b *builder) addOpt(why, flag string, o *option) { b.add(why, flag, o.String()) }

// fd returns the descriptor of the named file, giving it the next one when it
// is new.
func (b *builder) fd(name string) string {
	i := slices.Index(b.files, name)
	if i < 0 {
		i = len(b.files)
		b.files = append(b.files, name)
	}
	return strconv.Itoa(fdFirst + i)
}

// inherits reports whether name is a file that QEMU gets from Start.
func (b *builder) inherits(name string) bool { return name != "" && !b.Standalone }

// path returns where QEMU opens a file that it reads once: at path, or anew by
// the descriptor of the inherited file.
func (b *builder) path(path, file string) string {
	if b.inherits(file) {
		return "/proc/self/fd/" + b.fd(file)
	}
	return path
}

// fds returns the descriptors of the named files as QEMU lists them.
func (b *builder) fds(names []string) string {
	nums := make([]string, len(names))
	for i, n := range names {
		nums[i] = b.fd(n)
	}
	return strings.Join(nums, ":")
}

// virtio returns the option for a virtio device on the machine's bus.
func (b *builder) virtio(kind string) *option {
	if b.pci {
		return newOption("virtio-" + kind + "-pci")
	}
	return newOption("virtio-" + kind + "-device")
}

// modern is virtio for the device types that also have a pre-1.0 form on PCI,
// which is not wanted: it needs I/O ports, and a root port has few.
func (b *builder) modern(kind string) *option {
	o := b.virtio(kind)
	if b.pci {
		o.flag("disable-legacy", true)
	}
	return o
}

func (b *builder) basics() {
	b.addOpt("name", "-name", newOption("").set("guest", or(b.Name, "vm")))
	b.machine()
	b.add("nothing that was not asked for", "-nodefaults")
	b.add("no configuration from outside the command line", "-no-user-config")
	if !b.AllowReset {
		b.add("a reboot of the guest ends QEMU", "-no-reboot")
	}
	if b.Graphics == nil {
		b.add("graphics", "-display", "none")
	}
	if b.ownSandbox() {
		b.sandbox()
	}
	if !b.Standalone {
		b.add("waits for QMP's cont", "-S")
	}
}

func (b *builder) machine() {
	o := newOption(string(b.machineType()))
	opts := b.Options
	why := "qemu.machineOpts"
	if opts == nil {
		opts, why = b.defaultOptions(), "qemu.machine"
	}
	if _, ok := opts["accel"]; !ok {
		o.set("accel", string(b.accel()))
	}
	for _, k := range slices.Sorted(maps.Keys(opts)) {
		o.props([]Prop{{k, opts[k]}})
	}
	if _, ok := opts["memory-backend"]; !ok && b.memoryBackend() {
		o.set("memory-backend", "mem")
	}
	b.addOpt(why, "-machine", o)
	if b.family() == MicroVM && !b.pci {
		// Virtio 1 on mmio: vhost-user-fs has no older form, and the
		// other devices have no reason to use theirs.
		b.addOpt("virtio 1.0 on mmio", "-global", newOption("").
			set("driver", "virtio-mmio").set("property", "force-legacy").set("value", "false"))
	}
}

// defaultOptions returns the options of the machine type that suit it. The
// microvm's are without a PIT and a PIC, which no current kernel needs when it
// is told the TSC's frequency, and which it misreads now and then under TCG.
func (b *builder) defaultOptions() map[string]string {
	switch b.family() {
	case MicroVM:
		clock := onOff(b.needsPIT())
		return map[string]string{
			"acpi": "on", "mem-merge": "on", "pcie": onOff(b.pci), "pic": clock, "pit": clock,
			"rtc": "on", "usb": "off", "x-option-roms": "off",
		}
	case Virt:
		return map[string]string{"gic-version": "max", "mem-merge": "on"}
	default:
		return map[string]string{"acpi": "on", "mem-merge": "on"}
	}
}

// sandbox denies what QEMU does not need: mvm starts what must be started, and
// opens what takes privileges.
func (b *builder) sandbox() {
	b.addOpt("always", "-sandbox", newOption("on").set("obsolete", "deny").set("elevateprivileges", "deny").
		set("spawn", "deny").set("resourcecontrol", "deny"))
}

// ownSandbox reports whether the sandbox is for the machine to choose. One in
// ExtraArgs takes its place, since QEMU heeds the first only.
func (m *Machine) ownSandbox() bool {
	return !m.NoSandbox && !slices.ContainsFunc(m.ExtraArgs, func(a string) bool { return a == "-sandbox" || a == "--sandbox" })
}

func (b *builder) processor() {
	cpu, why := b.CPU, "cpu"
	if cpu == "" {
		cpu, why = b.defaultCPU(), "accel"
	}
	b.add(why, "-cpu", cpu)
	b.add("vcpu", "-smp", strconv.Itoa(b.vcpu()))
}

// defaultCPU returns everything that the accelerator has, less what is known
// to break: SGX under KVM stops QEMU from starting on hosts that lock it
// (qemu-project/qemu#2142), and pointer authentication by QEMU's default
// algorithm takes half of TCG's time on aarch64.
func (m *Machine) defaultCPU() string {
	switch {
	case m.accel() == KVM && m.x86():
		return "host,+x2apic,-sgx"
	case m.accel() == KVM:
		return "host"
	case m.x86():
		return "max"
	default:
		return "max,pauth-impdef=on"
	}
}

// memoryBackend reports whether the memory is an object of its own.
func (m *Machine) memoryBackend() bool { return m.sharedMemory() || m.HugePages }

func (b *builder) memory() {
	size := fmt.Sprintf("%dM", b.mem())
	o := newOption("").set("size", size)
	if b.HotplugMem > 0 {
		o.set("maxmem", fmt.Sprintf("%dM", b.mem()+b.HotplugMem))
	}
	b.addOpt("mem", "-m", o)
	if b.memoryBackend() {
		b.addOpt(b.backendWhy(), "-object", b.backend("mem", size))
	}
	if b.HotplugMem > 0 {
		b.addOpt("hotplugMem", "-object", b.hotplugBackend())
		o := newOption("virtio-mem-pci").set("id", hotplugID).
			set("memdev", "vmem0").set("requested-size", fmt.Sprintf("%dM", b.HotpluggedMem))
		if b.HugePages {
			// A page that is not there when it is plugged is refused to the
			// guest; one that is not there when it is touched kills QEMU.
			o.flag("prealloc", true)
		}
		b.addOpt("hotpluggedMem", "-device", o)
	}
}

func (m *Machine) backendWhy() string {
	if m.sharedMemory() {
		return "shares"
	}
	return "hugepageMem"
}

// hotplugID is the virtio-mem device's name to QMP.
const hotplugID = "vm0"

// hotplugBackend returns the memory that virtio-mem may plug. Huge pages are
// taken as they are plugged, not all of them at the start.
func (m *Machine) hotplugBackend() *option {
	o := m.backend("vmem0", fmt.Sprintf("%dM", m.HotplugMem))
	if m.HugePages {
		o.flag("reserve", false)
	}
	return o
}

// backend returns memory that other processes can map, if any does. Huge pages
// are shared in any case: nothing merges them, and of private ones QEMU could
// not give back what the guest does without.
func (m *Machine) backend(id, size string) *option {
	if !m.memoryBackend() {
		return newOption("memory-backend-ram").set("id", id).set("size", size)
	}
	o := newOption("memory-backend-memfd").set("id", id).set("size", size).flag("share", true)
	if m.HugePages {
		o.flag("hugetlb", true)
	}
	return o
}

func (b *builder) boot() {
	for _, f := range []struct{ why, flag, path, file string }{
		{"kernel", "-kernel", b.Kernel, b.KernelFile}, {"initrdPath", "-initrd", b.Initrd, b.InitrdFile},
	} {
		switch {
		case b.inherits(f.file):
			b.add(f.why+": "+f.path, f.flag, b.path(f.path, f.file))
		case f.path != "":
			b.add(f.why, f.flag, f.path)
		}
	}
	if b.Append != "" {
		b.add("kernelParams", "-append", b.Append)
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
