package qemu

import "net/netip"

// A sample is a machine for the golden files, and what the real QEMU makes of
// it.
type sample struct {
	golden string
	edit   func(*Machine)
	// needs is why this host cannot start it: a device or file that is not
	// here. Empty means that QEMU must accept it.
	needs string
}

// base is a machine in the middle of the road; the samples vary it.
func base() Machine {
	return Machine{
		Name: "web", Kernel: "/k/vmlinuz", Initrd: "/k/initrd", Append: "console=ttyS0 quiet",
		Console: true, Agent: "run.mvm.agent",
	}
}

var samples = []sample{
	{golden: "zero", edit: func(m *Machine) { *m = Machine{} }},
	{golden: "microvm-mmio-tcg", edit: func(m *Machine) { m.TSCKHz = 2600000 }},
	{golden: "microvm-mmio-tcg-pit", edit: func(*Machine) {}},
	{golden: "microvm-mmio-kvm", edit: func(m *Machine) { m.Accel = KVM }, needs: "a KVM that runs guests"},
	{golden: "microvm-pcie", edit: func(m *Machine) { m.PCI = true }},
	{golden: "q35", edit: func(m *Machine) { m.Type, m.VCPU, m.Mem = Q35, 2, 1024 }},
	{golden: "q35-versioned", edit: func(m *Machine) { m.Type = "pc-q35-7.2" }},
	{golden: "virt-versioned", edit: func(m *Machine) { m.Type = "virt-7.2" }},
	{golden: "virt", edit: func(m *Machine) { m.Type = Virt }},
	{golden: "virt-kvm", edit: func(m *Machine) { m.Type, m.Accel = Virt, KVM }, needs: "an aarch64 host"},
	{golden: "machine-options", edit: func(m *Machine) {
		m.Options = map[string]string{"acpi": "on", "pit": "off", "accel": "tcg"}
		m.CPU = "qemu64,+arat"
	}},
	{golden: "drives", edit: func(m *Machine) {
		m.Drives = []Drive{
			{ID: "store", Path: "/tmp/a.img", Serial: "nix-store", AIO: "io_uring", Why: "storeOnDisk"},
			{ID: "vdb", Path: "/tmp/b.img", Writable: true, Discard: true},
			{ID: "vdc", Path: "/tmp/c.img", Writable: true, Direct: true, AIO: "native", Serial: "data"},
			{ID: "vdd", Path: "/tmp/d.img", Writable: true, Format: "qcow2"},
			{ID: "vde", Path: "/tmp/e.img", File: "volume e"},
		}
	}, needs: "images"},
	{golden: "drives-commas", edit: func(m *Machine) {
		m.Drives = []Drive{{ID: "data", Path: "/srv/a,b,,c=d,readonly=off.img", Serial: "x,y=z"}}
	}, needs: "images"},
	{golden: "block-device", edit: func(m *Machine) {
		m.Drives = []Drive{{ID: "zvol", Path: "/dev/zvol/tank/a", BlockDevice: true, Writable: true}}
	}, needs: "a block device"},
	{golden: "name-commas", edit: func(m *Machine) { m.Name = "a,debug-threads=on" }},
	{golden: "balloon", edit: func(m *Machine) { m.Balloon, m.DeflateOnOOM = true, true }},
	{golden: "balloon-pci", edit: func(m *Machine) { m.Balloon, m.PCI = true, true }},
	{golden: "identity", edit: func(m *Machine) {
		m.UUID = "35beb228-e803-efcd-3453-45dce3ee7cdd"
		m.Credentials = []Credential{
			{Name: "TOKEN", Path: "/etc/hostname"}, {Name: "KEY", File: "credential KEY"}, {Name: "hint", Text: "a,b=c", Why: "machineId"},
		}
	}},
	{golden: "vsock", edit: func(m *Machine) { m.Vsock = &Vsock{CID: 42} }, needs: "/dev/vhost-vsock"},
	{golden: "vsock-file", edit: func(m *Machine) { m.Vsock = &Vsock{CID: 42, File: "vsock"} }, needs: "/dev/vhost-vsock"},
	{golden: "shares", edit: func(m *Machine) {
		m.Shares = []Share{
			{Tag: "ro-store", Path: "/usr"},
			{Tag: "home", Path: "/tmp", Security: "mapped", Writable: true},
		}
	}},
	{golden: "shares-virtiofs", edit: func(m *Machine) {
		m.Shares = []Share{{Tag: "store", Socket: "/run/fs.sock"}, {Tag: "src", SocketFile: "virtiofs src"}}
	}, needs: "virtiofsd"},
	{golden: "shares-virtiofs-q35", edit: func(m *Machine) {
		m.Type, m.HugePages = Q35, true
		m.Shares = []Share{{Tag: "store", Socket: "/run/fs.sock"}}
	}, needs: "virtiofsd"},
	{golden: "hotplug-memory-virtiofs", edit: func(m *Machine) {
		m.Type, m.HotplugMem = Q35, 256
		m.Shares = []Share{{Tag: "src", SocketFile: "virtiofs src"}}
	}, needs: "virtiofsd"},
	{golden: "hugepages", edit: func(m *Machine) { m.HugePages, m.Mem = true, 64 }, needs: "huge pages"},
	{golden: "hugepages-hotplug", edit: func(m *Machine) {
		m.Type, m.HugePages, m.Mem, m.HotplugMem, m.HotpluggedMem = Q35, true, 64, 64, 32
	}, needs: "huge pages"},
	{golden: "virt-hotplug", edit: func(m *Machine) { m.Type, m.HotplugMem, m.HotpluggedMem = Virt, 512, 256 }},
	{golden: "hotplug-memory", edit: func(m *Machine) { m.Type, m.HotplugMem, m.HotpluggedMem = Q35, 1024, 512 }},
	{golden: "network-user", edit: func(m *Machine) {
		m.NICs = []NIC{{MAC: "02:00:00:01:01:01", User: &UserNet{HostForwards: []HostForward{
			{HostPort: 2222, GuestPort: 22},
			{UDP: true, HostAddr: netip.MustParseAddr("127.0.0.1"), HostPort: 5353,
				GuestAddr: netip.MustParseAddr("10.0.2.15"), GuestPort: 53},
		}}}}
	}},
	{golden: "network-restrict", edit: func(m *Machine) { m.NICs = []NIC{{User: &UserNet{Restrict: true}}} }},
	{golden: "network-tap", edit: func(m *Machine) {
		m.NICs = []NIC{{MAC: "02:00:00:01:01:02", Tap: &TapNet{Ifname: "vm-a1", Vhost: true, Queues: 4}}}
	}, needs: "/dev/vhost-net"},
	{golden: "network-tap-files", edit: func(m *Machine) {
		m.VCPU = 2
		m.NICs = []NIC{{Tap: &TapNet{Files: []string{"tap0 0", "tap0 1"}}}, {Tap: &TapNet{Files: []string{"tap1 0"}}}}
	}, needs: "taps"},
	{golden: "network-tap-files-pci", edit: func(m *Machine) {
		m.PCI, m.VCPU = true, 2
		m.NICs = []NIC{{Tap: &TapNet{Files: []string{"tap0 0", "tap0 1"}}}}
	}, needs: "taps"},
	{golden: "network-tap-vhost", edit: func(m *Machine) {
		m.PCI, m.VCPU = true, 2
		m.NICs = []NIC{{Tap: &TapNet{Files: []string{"tap0 0", "tap0 1"}, VhostFiles: []string{"vhost0 0", "vhost0 1"}}}}
	}, needs: "/dev/vhost-net"},
	{golden: "network-stream", edit: func(m *Machine) {
		m.NICs = []NIC{{MTU: 65520, Stream: &StreamNet{File: "passt"}}}
	}},
	{golden: "root-ports", edit: func(m *Machine) {
		m.Type = Q35
		m.RootPorts = []RootPort{{ID: "rp0", Bus: "pcie.0", Chassis: "1", Slot: "1", Addr: "0x5"}, {ID: "rp1", Chassis: "2"}}
	}},
	{golden: "devices", edit: func(m *Machine) {
		m.Devices = []HostDevice{
			{PCI: "0000:01:00.0", ID: "gpu", Extra: []Prop{{"x-vga", "on"}}},
			{USB: []Prop{{"vendorid", "0x1234"}, {"productid", "0x5678"}}},
		}
	}, needs: "a device to give away"},
	{golden: "graphics", edit: func(m *Machine) { m.Graphics = &Graphics{} }, needs: "a display"},
	{golden: "graphics-headless", edit: func(m *Machine) {
		m.Graphics = &Graphics{Backend: "headless", Extra: []Prop{{"blob", "true"}, {"hostmem", "256M"}}}
	}, needs: "a GPU"},
	{golden: "extra", edit: func(m *Machine) {
		m.AllowReset, m.NoSandbox = true, true
		m.ExtraArgs = []string{"-device", "virtio-rng-device,id=more"}
	}},
	{golden: "socket", edit: func(m *Machine) { m.MonitorFile, m.MonitorSocket = "socket", "/srv/qmp.sock" }},
	{golden: "extra-sandbox", edit: func(m *Machine) {
		m.ExtraArgs = []string{"-sandbox", "on,obsolete=deny,resourcecontrol=deny"}
	}},
	{golden: "standalone", edit: func(m *Machine) {
		m.Standalone = true
		m.NICs = []NIC{{Tap: &TapNet{Ifname: "vm-a1", Files: []string{"tap0"}}}}
		m.Drives = []Drive{{ID: "a", Path: "/srv/a.img", File: "a"}}
	}, needs: "a terminal"},
	{golden: "everything", edit: func(m *Machine) {
		m.Type, m.VCPU, m.Mem = Q35, 2, 768
		m.Balloon, m.UUID = true, "35beb228-e803-efcd-3453-45dce3ee7cdd"
		m.HotplugMem = 256
		m.Shares = []Share{{Tag: "src", Path: "/usr"}}
		m.NICs = []NIC{{MAC: "02:00:00:01:01:01", User: &UserNet{}}}
		m.RootPorts = []RootPort{{ID: "rp0", Chassis: "1"}}
		m.Credentials = []Credential{{Name: "TOKEN", Path: "/etc/hostname"}}
	}},
}

func (s sample) machine() Machine {
	m := base()
	s.edit(&m)
	return m
}
