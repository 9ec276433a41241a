package vm

// A Config is a machine as its owner writes it: a TOML or JSON file whose keys
// are microvm.nix's option names and a few of mvm's own. docs/definition.md
// describes every key.
//
// Every field may be left out. [Load] fills nothing in, so a Config prints as
// it was written. A field whose default is not its zero value is read with the
// method that its comment names; numbers, flags and times of that kind are
// pointers, so that "not written" differs from zero. The zero Config is valid
// but boots nothing: see [Config.CheckBootable].
type Config struct {
	// Name identifies the machine on this host and is the guest's host name.
	// Empty means the file's name: see [Config.MachineName].
	Name string `json:"name,omitempty"`

	// Toplevel is a NixOS system as NixOS lays it out (init, kernel,
	// kernel-params, kernel-modules, sw): a path on the host, or a symlink to
	// one. Kernel, Modules and Init, where set, win over what it holds.
	Toplevel string `json:"toplevel,omitempty"`

	// Kernel is a kernel image on the host, or the directory of a kernel
	// package that holds bzImage or Image. Empty means Toplevel's, and
	// without a Toplevel the newest /boot/vmlinuz-*.
	Kernel string `json:"kernel,omitempty"`

	// Modules is the directory of the kernel's modules on the host: the one
	// that holds modules.dep, or one with lib/modules/VERSION. Empty means
	// those beside the kernel.
	Modules string `json:"modules,omitempty"`

	// InitrdPath is a systemd initrd on the host to boot through, instead of
	// mvm's own. What the plan needs is appended to it.
	InitrdPath string `json:"initrdPath,omitempty"`

	// Init is the program that becomes process 1, with its arguments; its
	// path is one in the guest. Empty means Toplevel's init.
	Init Command `json:"init,omitempty"`

	// KernelParams are added to the kernel's command line.
	KernelParams []string `json:"kernelParams,omitempty"`

	// VCPU is the number of virtual CPUs: [Config.VCPUs].
	VCPU *int `json:"vcpu,omitempty"`

	// Mem is the guest's RAM in MiB: [Config.MemMiB].
	Mem *int `json:"mem,omitempty"`

	// HugepageMem backs the RAM with huge pages.
	HugepageMem bool `json:"hugepageMem,omitempty"`

	// HotplugMem is the most memory, in MiB, that virtio-mem can add.
	HotplugMem int `json:"hotplugMem,omitempty"`

	// HotpluggedMem is how much of it, in MiB, is there from the start:
	// [Config.HotpluggedMiB].
	HotpluggedMem *int `json:"hotpluggedMem,omitempty"`

	// Balloon adds a memory balloon.
	Balloon bool `json:"balloon,omitempty"`

	// DeflateOnOOM lets a guest without memory take the balloon's back:
	// [Config.BalloonDeflates].
	DeflateOnOOM *bool `json:"deflateOnOOM,omitempty"`

	// InitialBalloonMem is refused unless zero, as in microvm.nix.
	InitialBalloonMem int `json:"initialBalloonMem,omitempty"`

	// CPU is a QEMU CPU model to emulate; it implies TCG. Empty means the
	// host's CPU under KVM and "max" under TCG.
	CPU string `json:"cpu,omitempty"`

	// Accel is "auto", "kvm" or "tcg": [Config.Accelerator].
	Accel string `json:"accel,omitempty"`

	// MachineID is the machine's UUID: [Config.UUID].
	MachineID string `json:"machineId,omitempty"`

	// StorePaths are store paths that, with everything they refer to, make
	// the store disk. Toplevel is one of them without being listed.
	StorePaths []string `json:"storePaths,omitempty"`

	// ClosureInfo is a directory with the files store-paths and registration,
	// as nixpkgs' closureInfo makes it. It excludes StorePaths.
	ClosureInfo string `json:"closureInfo,omitempty"`

	// StoreDir is where this host keeps the paths of the guest's /nix/store:
	// [Config.HostStoreDir].
	StoreDir string `json:"storeDir,omitempty"`

	// StoreOnDisk gives the guest a store disk: [Config.HasStoreDisk].
	StoreOnDisk *bool `json:"storeOnDisk,omitempty"`

	// StoreDiskType is the disk's format: [Config.StoreDiskFormat].
	StoreDiskType string `json:"storeDiskType,omitempty"`

	// StoreDiskCompression names an algorithm. Empty means uncompressed.
	StoreDiskCompression string `json:"storeDiskCompression,omitempty"`

	// StoreDiskErofsFlags and StoreDiskSquashfsFlags are for the program
	// that makes the image; giving any makes mvm use that program.
	StoreDiskErofsFlags    []string `json:"storeDiskErofsFlags,omitempty"`
	StoreDiskSquashfsFlags []string `json:"storeDiskSquashfsFlags,omitempty"`

	// WritableStoreOverlay is a directory in the guest that receives what is
	// written to /nix/store. Empty leaves the store read-only.
	WritableStoreOverlay string `json:"writableStoreOverlay,omitempty"`

	// RegisterClosure hands the closure's registration to the guest, for its
	// Nix database.
	RegisterClosure bool `json:"registerClosure,omitempty"`

	// CredentialFiles are systemd credentials: names to files on the host.
	CredentialFiles map[string]string `json:"credentialFiles,omitempty"`

	Volumes      []Volume      `json:"volumes,omitempty"`
	Shares       []Share       `json:"shares,omitempty"`
	Interfaces   []Interface   `json:"interfaces,omitempty"`
	ForwardPorts []ForwardPort `json:"forwardPorts,omitempty"`
	Devices      []Device      `json:"devices,omitempty"`
	VSock        VSock         `json:"vsock,omitzero"`
	Graphics     Graphics      `json:"graphics,omitzero"`
	QEMU         QEMU          `json:"qemu,omitzero"`
	Virtiofsd    Virtiofsd     `json:"virtiofsd,omitzero"`
	Passt        Passt         `json:"passt,omitzero"`

	// Hypervisor is empty or "qemu"; mvm drives no other.
	Hypervisor string `json:"hypervisor,omitempty"`

	// Socket is where a QMP socket for other programs is made. Empty makes
	// none: mvm itself needs none.
	Socket string `json:"socket,omitempty"`

	// User is the user that QEMU runs as when mvm is started as root. Empty
	// means root, without any of root's capabilities.
	User string `json:"user,omitempty"`

	// PreStart is a shell script to run before QEMU starts.
	PreStart string `json:"preStart,omitempty"`

	// ExtraArgsScript is a program that prints further QEMU arguments.
	ExtraArgsScript string `json:"extraArgsScript,omitempty"`

	// RegisterWithMachined tells systemd-machined about the machine.
	RegisterWithMachined bool `json:"registerWithMachined,omitempty"`

	// PrettyProcnames makes the machine's name part of QEMU's process name:
	// [Config.NamesProcess].
	PrettyProcnames *bool `json:"prettyProcnames,omitempty"`

	// Restart says when a machine that ended is started again:
	// [Config.RestartPolicy].
	Restart string `json:"restart,omitempty"`

	// RestartLimit is how many restarts RestartWindow may see before mvm
	// gives up: [Config.RestartLimits].
	RestartLimit  *int      `json:"restartLimit,omitempty"`
	RestartWindow *Duration `json:"restartWindow,omitempty"`

	// StopTimeout is how long the guest may take to power off before it is
	// forced: [Config.StopLimit].
	StopTimeout *Duration `json:"stopTimeout,omitempty"`

	// ReadyTimeout is how long the guest may take to be ready:
	// [Config.ReadyLimit].
	ReadyTimeout *Duration `json:"readyTimeout,omitempty"`

	// Autostart starts the machine when the host boots.
	Autostart bool `json:"autostart,omitempty"`

	src *source // where each key was written; nil for a Config made in Go
}
