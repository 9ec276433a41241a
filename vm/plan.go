package vm

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
	"github.com/mvmrun/mvm/vm/state"
	"github.com/mvmrun/mvm/vm/volume"
)

// An Image is what a machine boots, after the definition's names were resolved
// to files: see [Config.Resolve].
type Image struct {
	// Kernel is the kernel's image on the host.
	Kernel string

	// Arch is the architecture that the kernel is for, in Go's words
	// (runtime.GOARCH). Empty means the host's.
	Arch string

	// Params are the kernel parameters that come with the closure.
	Params []string

	// Modules is the host's directory with modules.dep, or "" for a kernel
	// that has everything built in.
	Modules string

	// Init becomes process 1: a path in the guest, and its arguments.
	Init []string
}

// A Host is what planning must know of the host. It is data, so that planning
// touches nothing and a plan can be made for another host.
type Host struct {
	// Arch is the host's architecture in Go's words (runtime.GOARCH).
	Arch string

	// Accel is what will run the guest: see [qemu.DetectAccel].
	Accel qemu.Accel

	// TSCKHz is the frequency of the time stamp counter: see [qemu.TSCMeter].
	TSCKHz int

	// AIO is how QEMU reads and writes images. Empty means threads.
	AIO string

	// Virtiofsd is what carries virtiofs shares. Nil means that there is no
	// such program.
	Virtiofsd *sidecar.Daemon

	// Passt says that passt works here, for interfaces that leave the back-end
	// open. NoPasst is why it does not.
	Passt   bool
	NoPasst string

	// BlockDevices are those of the machine's volumes, by path, that are no
	// files.
	BlockDevices map[string]bool

	// CID is the vsock address of a guest that leaves it open: of [DetectHost]
	// the one that a run tries first. Zero means none was picked.
	CID uint32

	// Notify says that somebody hears what the guest's systemd says of itself
	// over vsock.
	Notify bool

	// Place is where the machine lives.
	Place state.Machine
}

// protocol is how a share is carried: as its definition says, or for "auto" by
// virtiofs where there is a daemon for it, else by 9p.
func (h Host) protocol(s *Share) string {
	switch {
	case s.Protocol() != "auto":
		return s.Protocol()
	case h.Virtiofsd != nil:
		return "virtiofs"
	}
	return "9p"
}

// Plan decides what QEMU is told and what the guest mounts. It is pure: the
// same arguments give the same plan, and nothing on the host is looked at.
// Every path that it names is one that a run makes before QEMU starts.
//
// The definition must have passed [Config.Check]. What it cannot mean on this host
// is a [*DefinitionError] all the same: a share that leaves its protocol open may
// have to carry what only virtiofs can.
func Plan(c *Config, img Image, host Host) (qemu.Machine, mounts.Plan, error) {
	plan, err := c.mountPlan(host)
	if err != nil {
		return qemu.Machine{}, mounts.Plan{}, err
	}
	m := qemu.Machine{
		Name:          c.MachineName(),
		Type:          qemu.Type(c.MachineType(cmp.Or(img.Arch, host.Arch))),
		Options:       c.QEMU.MachineOpts,
		Accel:         host.Accel,
		CPU:           c.CPU,
		VCPU:          c.VCPUs(),
		Mem:           c.MemMiB(),
		HotplugMem:    c.HotplugMem,
		HotpluggedMem: c.HotpluggedMiB(),
		HugePages:     c.HugepageMem,
		TSCKHz:        host.TSCKHz,
		Kernel:        img.Kernel,
		KernelFile:    kernelFile,
		Initrd:        host.Place.Initrd(),
		InitrdFile:    initrdFile,
		Console:       c.HasSerialConsole(),
		Agent:         handoff.PortName,
		Balloon:       c.Balloon,
		DeflateOnOOM:  c.BalloonDeflates(),
		UUID:          c.UUID(),
		ExtraArgs:     c.QEMU.ExtraArgs,
	}
	if c.hasSocket() {
		m.MonitorFile, m.MonitorSocket = monitorFile, c.socketPath(host.Place)
	}
	m.Drives = c.drives(host)
	m.Shares = c.shares(host)
	if err := c.extraDevices(&m, host); err != nil {
		return qemu.Machine{}, mounts.Plan{}, err
	}
	for i := range c.Interfaces {
		nic, err := c.nic(i, m.VCPU, host)
		if err != nil {
			return qemu.Machine{}, mounts.Plan{}, fmt.Errorf("interfaces[%d]: %w", i, err)
		}
		m.NICs = append(m.NICs, nic)
	}
	if len(img.Init) > 0 && strings.ContainsAny(img.Init[0], kernelBlanks) {
		return qemu.Machine{}, mounts.Plan{}, fmt.Errorf("init %s: %s", quoteShort(img.Init[0]), notKernelWord)
	}
	m.Append = strings.Join(kernelLine(c, &m, img), " ")
	if err := checkKernelLine(m.Append); err != nil {
		return qemu.Machine{}, mounts.Plan{}, err
	}
	return m, plan, nil
}

// MountPlan is the part of [Plan] that the guest carries out. It needs nothing
// but the definition; a share that leaves its protocol open is taken for
// virtiofs.
func (c *Config) MountPlan() (mounts.Plan, error) {
	return c.mountPlan(anyVirtiofs)
}

// anyVirtiofs is a host of which only that matters: shares go by virtiofs.
var anyVirtiofs = Host{Virtiofsd: new(sidecar.Daemon)}

// mountsConfig is the definition in the words of package mounts.
func (c *Config) mountsConfig(host Host) mounts.Config {
	mc := mounts.Config{
		StoreOnDisk:          c.HasStoreDisk(),
		StoreDiskType:        c.StoreDiskFormat(),
		StoreDir:             c.HostStoreDir(),
		WritableStoreOverlay: c.WritableStoreOverlay,
	}
	for i := range c.Volumes {
		mc.Volumes = append(mc.Volumes, c.Volumes[i].mountsVolume())
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		mc.Shares = append(mc.Shares, mounts.Share{
			Tag: s.Tag, Source: s.Source, MountPoint: s.MountPoint, Proto: host.protocol(s), ReadOnly: c.keepsReadOnly(s),
		})
	}
	return mc
}

func (v *Volume) mountsVolume() mounts.Volume {
	return mounts.Volume{
		Image: v.Image, MountPoint: v.MountPoint, FSType: v.FileSystem(),
		Label: v.Label, Serial: v.Serial, ReadOnly: v.ReadOnly,
		Grow: v.CreatesImage(),
	}
}

// drives lists the disks in the order in which the mount plan counts them: the
// store disk first.
func (c *Config) drives(host Host) []qemu.Drive {
	var drives []qemu.Drive
	if c.HasStoreDisk() {
		drives = append(drives, qemu.Drive{
			ID: "store", Path: host.Place.StoreDisk(), File: diskFile("store"), AIO: host.AIO,
			Serial: mounts.StoreSerial, Why: "storeOnDisk",
		})
	}
	for i := range c.Volumes {
		v := &c.Volumes[i]
		id, path := volumeID(i), v.path(host.Place)
		drives = append(drives, qemu.Drive{
			ID:          id,
			Path:        path,
			BlockDevice: host.BlockDevices[path],
			File:        diskFile(id),
			Writable:    !v.ReadOnly,
			Format:      volume.Format(v.Format()).QEMU(),
			AIO:         host.AIO,
			Direct:      v.Direct,
			Discard:     true,
			Serial:      mounts.VolumeSerial(v.mountsVolume(), len(drives)),
			Why:         fmt.Sprintf("volumes[%d]", i),
		})
	}
	return drives
}

// shares are the directories that the guest can mount, by a socket to a helper or
// by QEMU itself.
func (c *Config) shares(host Host) []qemu.Share {
	var shares []qemu.Share
	for i := range c.Shares {
		s := &c.Shares[i]
		q := qemu.Share{Tag: s.Tag, Why: fmt.Sprintf("shares[%d]", i)}
		if host.protocol(s) == "virtiofs" {
			q.SocketFile = shareFile(s.Tag)
		} else {
			q.Path, q.Security, q.Writable = s.Source, s.Security(), !c.keepsReadOnly(s)
		}
		shares = append(shares, q)
	}
	return shares
}

// keepsReadOnly reports whether the guest may not write to a share. The host's
// store is among them whatever the definition says: no guest has any business
// changing what other machines, and the host, are made of.
func (c *Config) keepsReadOnly(s *Share) bool { return s.ReadOnly || s == c.StoreShare() }

// path is where the volume's image is on the host.
func (v *Volume) path(place state.Machine) string {
	if filepath.IsAbs(v.Image) {
		return filepath.Clean(v.Image)
	}
	return filepath.Join(place.State, v.Image)
}

// kernelLine is the kernel's command line: what the machine needs first, so that
// the parameters of the closure and of the definition win.
func kernelLine(c *Config, m *qemu.Machine, img Image) []string {
	line := m.KernelParams()
	if m.Accel == qemu.TCG {
		// The kernel's own tests of its ciphers take a fifth of a boot that
		// is translated (measured with Debian's 6.1).
		line = append(line, "cryptomgr.notests")
	}
	if c.MachineID != "" {
		line = append(line, "systemd.machine_id="+c.machineIDDigits())
	}
	line = append(line, img.Params...)
	line = append(line, c.KernelParams...)
	if len(img.Init) > 0 {
		line = append(line, "init="+img.Init[0])
	}
	if c.RegisterClosure {
		// What NixOS's boot.postBootCommands of microvm.nix look for.
		line = append(line, "regInfo="+handoff.RegistrationPath)
	}
	if c.InitrdPath != "" && len(img.Init) > 1 {
		// systemd passes on what the kernel gave it when it executes init.
		line = append(line, "--")
		for _, arg := range img.Init[1:] {
			line = append(line, kernelWord(arg))
		}
	}
	return line
}

// kernelWord is an argument as the kernel reads it (next_arg in lib/cmdline.c),
// which has no way to write a quotation mark.
func kernelWord(s string) string {
	if s == "" || strings.ContainsAny(s, " \t") {
		return `"` + s + `"`
	}
	return s
}
