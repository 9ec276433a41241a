package vm

// VSock is the table vsock.
type VSock struct {
	// CID is the guest's vsock address: 3 or more, or [CIDAuto]. Zero means
	// no vsock device.
	CID CID `json:"cid,omitempty"`
}

// Graphics is the table graphics.
type Graphics struct {
	// Enable gives the guest a display.
	Enable bool `json:"enable,omitempty"`

	// Backend is "gtk" or "headless": [Graphics.Display].
	Backend string `json:"backend,omitempty"`

	// Vulkan is "", "venus" or "drm_native_context".
	Vulkan string `json:"vulkan,omitempty"`

	// HostMem is the size of the window for the GPU's memory, as "256M":
	// [Graphics.HostWindow].
	HostMem string `json:"hostmem,omitempty"`
}

// QEMU is the table qemu.
type QEMU struct {
	// Machine is QEMU's machine type: [Config.MachineType].
	Machine string `json:"machine,omitempty"`

	// MachineOpts replace mvm's options of the machine. Nil keeps them; an
	// empty map is no options at all.
	MachineOpts map[string]string `json:"machineOpts,omitzero"`

	// ExtraArgs are added to the end of QEMU's arguments.
	ExtraArgs []string `json:"extraArgs,omitempty"`

	// SerialConsole gives the guest a serial console:
	// [Config.HasSerialConsole].
	SerialConsole *bool `json:"serialConsole,omitempty"`

	// PCIERootPorts are root ports to plug devices into later.
	PCIERootPorts []PCIERootPort `json:"pcieRootPorts,omitempty"`

	// Package is a QEMU program, or the directory of a package that has it
	// in bin. Empty means the one in PATH.
	Package string `json:"package,omitempty"`
}

// A PCIERootPort is a PCI Express root port. Empty fields are left to QEMU.
type PCIERootPort struct {
	ID      string `json:"id,omitempty"` // required
	Bus     string `json:"bus,omitempty"`
	Chassis *int   `json:"chassis,omitempty"`
	Slot    string `json:"slot,omitempty"`
	Addr    string `json:"addr,omitempty"`
}

// Passt is the table passt.
type Passt struct {
	// Package is a passt program, or the directory of a package that has it
	// in bin. Empty means the one in PATH.
	Package string `json:"package,omitempty"`
}

// Virtiofsd is the table virtiofsd: what all virtiofs shares have in common.
type Virtiofsd struct {
	// InodeFileHandles is "never", "prefer" or "mandatory", or "" to leave it
	// to virtiofsd: [Virtiofsd.FileHandles].
	InodeFileHandles *string `json:"inodeFileHandles,omitempty"`

	// ThreadPoolSize is the number of threads. Zero means one for each of the
	// host's CPUs.
	ThreadPoolSize Threads `json:"threadPoolSize,omitempty"`

	// Group is the group of the sockets, or "" for none:
	// [Virtiofsd.SocketGroup].
	Group *string `json:"group,omitempty"`

	// ExtraArgs are further arguments for every virtiofsd.
	ExtraArgs []string `json:"extraArgs,omitempty"`

	// Package is a virtiofsd program, or the directory of a package that has
	// it in bin. Empty means the one that is found.
	Package string `json:"package,omitempty"`
}
