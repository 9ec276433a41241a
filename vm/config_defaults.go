package vm

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"time"
)

// Defaults that are not zero values. Those of keys that microvm.nix has are
// microvm.nix's.
const (
	defaultVCPU     = 1
	defaultMemMiB   = 512
	defaultStoreDir = "/nix/store"

	// Ten restarts in a minute are a machine that cannot work, not a glitch.
	defaultRestartLimit  = 10
	defaultRestartWindow = 60 * time.Second

	// Below systemd's own stop limit of 90 s, so that mvm gets to force the
	// machine, and to say so, before systemd kills mvm.
	defaultStopTimeout = 60 * time.Second

	// microvm.nix gives its units 150 s to start.
	defaultReadyTimeout = 150 * time.Second
)

// derefOr returns *p, or def if p is nil.
func derefOr[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// MachineName is the machine's name: Name, or else the name of the file that
// the definition was loaded from, without its extension.
func (c *Config) MachineName() string {
	if c.Name == "" && c.src != nil {
		return c.src.baseName()
	}
	return c.Name
}

// Path resolves a path on the host that the definition gives: a relative one
// is relative to the directory of the file. The empty path stays empty.
// Volumes' images and sockets are not for it: they are relative to the
// machine's own directories.
func (c *Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) || c.src == nil {
		return p
	}
	return filepath.Join(c.src.dir, p)
}

// VCPUs is the number of virtual CPUs, by default 1.
func (c *Config) VCPUs() int { return derefOr(c.VCPU, defaultVCPU) }

// MemMiB is the guest's RAM in MiB, by default 512.
func (c *Config) MemMiB() int { return derefOr(c.Mem, defaultMemMiB) }

// HotpluggedMiB is how much hot-plugged memory, in MiB, is there from the
// start, by default all of HotplugMem.
func (c *Config) HotpluggedMiB() int { return derefOr(c.HotpluggedMem, c.HotplugMem) }

// BalloonDeflates reports whether the balloon deflates when the guest is out
// of memory, by default true. It means nothing without Balloon.
func (c *Config) BalloonDeflates() bool { return derefOr(c.DeflateOnOOM, true) }

// Accelerator is "auto", "kvm" or "tcg", by default "auto"; with a CPU model
// to emulate it is "tcg" by default.
func (c *Config) Accelerator() string {
	if c.CPU != "" {
		return cmp.Or(c.Accel, "tcg")
	}
	return cmp.Or(c.Accel, "auto")
}

// UUID is the machine's UUID in lower case: MachineID, or else one derived
// from the name in microvm.nix's way, so that a machine keeps its identity
// when it moves from there. It has no UUID version.
func (c *Config) UUID() string {
	if c.MachineID != "" {
		return strings.ToLower(c.MachineID)
	}
	sum := sha256.Sum256([]byte("microvm.nix:" + c.MachineName()))
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// MachineType is QEMU's machine type for a guest of this architecture, in Go's
// words (runtime.GOARCH): the one of qemu.machine, or else "virt" on arm64,
// "q35" for hot-plugged memory, which "microvm" cannot do, and "microvm".
func (c *Config) MachineType(goarch string) string {
	switch {
	case c.QEMU.Machine != "":
		return c.QEMU.Machine
	case goarch == "arm64":
		return "virt"
	case c.HotplugMem > 0:
		return "q35"
	}
	return "microvm"
}

// HasSerialConsole reports whether the guest has a serial console, by default
// true.
func (c *Config) HasSerialConsole() bool { return derefOr(c.QEMU.SerialConsole, true) }

// NamesProcess reports whether QEMU's process shows the machine's name, by
// default true.
func (c *Config) NamesProcess() bool { return derefOr(c.PrettyProcnames, true) }

// HostStoreDir is the directory on the host that holds the paths of the
// guest's /nix/store, by default /nix/store itself.
func (c *Config) HostStoreDir() string { return cmp.Or(c.StoreDir, defaultStoreDir) }

// StoreShare returns the share that gives the guest the host's store, or nil.
func (c *Config) StoreShare() *Share {
	for i := range c.Shares {
		if c.Shares[i].Source == c.HostStoreDir() {
			return &c.Shares[i]
		}
	}
	return nil
}

// HasStoreDisk reports whether the guest gets a store disk, by default if no
// share gives it the host's store.
func (c *Config) HasStoreDisk() bool { return derefOr(c.StoreOnDisk, c.StoreShare() == nil) }

// StoreDiskFormat is "erofs", "squashfs", "ext4" or "btrfs", by default
// "erofs".
func (c *Config) StoreDiskFormat() string { return cmp.Or(c.StoreDiskType, "erofs") }

// RestartPolicy is "never", "on-failure", "always" or "on-reboot", by default
// "never".
func (c *Config) RestartPolicy() string { return cmp.Or(c.Restart, "never") }

// RestartLimits are how many restarts are allowed in which time, by default 10
// in a minute. Zero restarts mean no limit.
func (c *Config) RestartLimits() (int, time.Duration) {
	return derefOr(c.RestartLimit, defaultRestartLimit),
		time.Duration(derefOr(c.RestartWindow, Duration(defaultRestartWindow)))
}

// StopLimit is how long the guest may take to power off before it is forced,
// by default one minute. Zero forces it at once.
func (c *Config) StopLimit() time.Duration {
	return time.Duration(derefOr(c.StopTimeout, Duration(defaultStopTimeout)))
}

// ReadyLimit is how long the guest may take to be ready, by default 150
// seconds. Zero means for ever.
func (c *Config) ReadyLimit() time.Duration {
	return time.Duration(derefOr(c.ReadyTimeout, Duration(defaultReadyTimeout)))
}

// CreatesImage reports whether an image that is not there is created, by
// default true.
func (v *Volume) CreatesImage() bool { return derefOr(v.AutoCreate, true) }

// FileSystem is the volume's file system type, by default "ext4".
func (v *Volume) FileSystem() string { return cmp.Or(v.FSType, "ext4") }

// Format is the image's format: "raw" (the default), "qcow2", "vhd" or "vhdx".
func (v *Volume) Format() string { return cmp.Or(v.ImageType, "raw") }

// Protocol is "9p" (the default), "virtiofs" or "auto".
func (s *Share) Protocol() string { return cmp.Or(s.Proto, "9p") }

// Security is 9p's security model: "none" (the default), "passthrough",
// "mapped" or "mapped-file".
func (s *Share) Security() string { return cmp.Or(s.SecurityModel, "none") }

// CachePolicy is virtiofs' cache policy: "auto" (the default), "always",
// "metadata" or "never".
func (s *Share) CachePolicy() string { return cmp.Or(s.Cache, "auto") }

// PassesACLs reports whether virtiofs passes POSIX ACLs and extended
// attributes, by default true.
func (s *Share) PassesACLs() bool { return derefOr(s.PosixACL, true) }

// MacvtapMode is the macvlan mode, by default "bridge".
func (i *Interface) MacvtapMode() string { return cmp.Or(i.Macvtap.Mode, "bridge") }

// UserBackend is what makes a network of type "user": "passt", "slirp" (QEMU's
// own), or "auto" (the default), which is passt if it works on the host and can
// do what the definition wants, else slirp.
func (i *Interface) UserBackend() string { return cmp.Or(i.User.Backend, "auto") }

// Direction is the side that connects: "host" (the default) or "guest".
func (f *ForwardPort) Direction() string { return cmp.Or(f.From, "host") }

// Protocol is "tcp" (the default) or "udp".
func (f *ForwardPort) Protocol() string { return cmp.Or(f.Proto, "tcp") }

// Display is "gtk" (the default) or "headless".
func (g *Graphics) Display() string { return cmp.Or(g.Backend, "gtk") }

// HostWindow is the size of the window for the GPU's memory, by default
// "256M".
func (g *Graphics) HostWindow() string { return cmp.Or(g.HostMem, "256M") }

// FileHandles is virtiofsd's use of file handles, by default "prefer". Empty
// leaves it to virtiofsd.
func (v *Virtiofsd) FileHandles() string { return derefOr(v.InodeFileHandles, "prefer") }

// SocketGroup is the group of virtiofsd's sockets, by default "kvm". Empty
// leaves them to mvm's own group.
func (v *Virtiofsd) SocketGroup() string { return derefOr(v.Group, "kvm") }
