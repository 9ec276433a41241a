package kmod

import "github.com/mvmrun/mvm/mounts"

// always is what every kernel of use has in it, and lists nowhere.
var always = map[string]bool{
	"tmpfs": true, "ramfs": true, "devtmpfs": true, "devpts": true, "proc": true, "sysfs": true,
	"cgroup": true, "cgroup2": true, "debugfs": true, "tracefs": true, "securityfs": true,
	"mqueue": true, "hugetlbfs": true, "bpf": true,
}

// ForPlan returns the modules that mounting a plan takes: for each type of file
// system the alias by which the kernel itself would ask for it (get_fs_type in
// fs/filesystems.c).
func ForPlan(plan mounts.Plan) []Want {
	var wants []Want
	seen := make(map[string]bool)
	for _, m := range plan.Mounts {
		if m.Type == "" || m.Bind() || always[m.Type] || seen[m.Type] {
			continue
		}
		seen[m.Type] = true
		wants = append(wants, Want{Name: fsPrefix + m.Type, For: "the mount on " + m.Where})
	}
	return wants
}

// fsPrefix begins the alias of a file system.
const fsPrefix = "fs-"

// A Machine is what of a virtual machine decides about modules.
type Machine struct {
	PCI      bool // virtio devices are on PCI, else on MMIO
	Balloon  bool
	Memory   bool // virtio-mem
	RNG      bool
	Network  bool
	VSock    bool
	Graphics bool
	Disks    bool // virtio-blk
	FWCfg    bool // what QEMU hands over by fw_cfg is to be seen
}

// ForMachine returns the modules that a guest needs before its own init can
// load the rest: the bus, the agent's port, and the disks.
//
// What a guest's udev would load itself is optional: it is there for guests
// that have none.
func ForMachine(m Machine) []Want {
	bus := Want{Name: "virtio_mmio", For: "the machine's bus"}
	if m.PCI {
		bus.Name = "virtio_pci"
	}
	wants := []Want{bus, {Name: "virtio_console", For: "mvm's agent"}}
	if m.Disks {
		wants = append(wants, Want{Name: "virtio_blk", For: "the machine's disks"})
	}
	for _, o := range []struct {
		wanted bool
		name   string
	}{
		{m.RNG, "virtio_rng"},
		{m.Balloon, "virtio_balloon"},
		{m.Memory, "virtio_mem"},
		{m.Network, "virtio_net"},
		{m.VSock, "vmw_vsock_virtio_transport"},
		{m.Graphics, "virtio_gpu"},
		{m.FWCfg, "qemu_fw_cfg"},
		{true, "pvpanic_mmio"}, // which is also the driver of the one on ISA
		{m.PCI, "pvpanic_pci"},
		// The ACPI power button, for guests whose udev does not load it.
		{true, "button"},
	} {
		if o.wanted {
			wants = append(wants, Want{Name: o.name, Optional: true})
		}
	}
	return wants
}
