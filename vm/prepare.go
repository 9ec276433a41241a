package vm

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/kernel"
	"github.com/mvmrun/mvm/vm/sidecar"
	"github.com/mvmrun/mvm/vm/state"
	"github.com/mvmrun/mvm/vm/vsock"
)

// DetectHost finds out what planning must know of this host for a machine that
// boots the image. Why is what the user should be told about the accelerator, or
// "".
func DetectHost(ctx context.Context, c *Config, img Image, place state.Machine) (host Host, why string, err error) {
	host = Host{Arch: runtime.GOARCH, Place: place, BlockDevices: c.blockDevices(place)}
	t := qemu.Type(c.MachineType(cmp.Or(img.Arch, host.Arch)))
	switch c.Accelerator() {
	case "kvm":
		host.Accel, err = qemu.KVM, qemu.CheckKVM(t)
	case "tcg":
		host.Accel = qemu.TCG
	default:
		if host.Accel, why = qemu.DetectAccel(t); why != "" {
			why = "the guest runs slowly, translated by TCG: " + strings.TrimPrefix(why, "use KVM: ")
		}
	}
	if err != nil {
		return host, "", err
	}
	if c.mayUseVirtiofs() {
		// Whoever cannot do without says so when it starts.
		host.Virtiofsd, _ = sidecar.FindVirtiofsd(ctx, c.Path(c.Virtiofsd.Package))
	}
	if c.leavesBackendOpen() {
		perr := c.tryPasst(ctx)
		if host.Passt = perr == nil; perr != nil {
			host.NoPasst = perr.Error()
		}
	}
	if c.VSock.CID == CIDAuto {
		host.CID = vsock.Candidate(c.MachineName(), 0)
	}
	if qemu.IOUring() == nil {
		host.AIO = "io_uring"
	}
	return host, why, nil
}

func (c *Config) mayUseVirtiofs() bool {
	return slices.ContainsFunc(c.Shares, func(s Share) bool { return s.Protocol() != "9p" })
}

func (c *Config) leavesProtocolOpen() bool {
	return slices.ContainsFunc(c.Shares, func(s Share) bool { return s.Protocol() == "auto" })
}

// unpackKernel boots a guest that is translated from the kernel without its
// compression. A kernel that cannot be unpacked is booted as it is.
func (s *supervisor) unpackKernel(ctx context.Context, img *Image) {
	if _, ok := kernel.Found(s.o.Dirs.Kernels(), img.Kernel); !ok {
		// This process lives as long as the guest, and has no more use for
		// the decompressor's buffers.
		defer debug.FreeOSMemory()
	}
	switch file, err := kernel.Unpacked(ctx, s.o.Dirs.Kernels(), img.Kernel); {
	case err == nil:
		img.Kernel = file
	case !errors.Is(err, kernel.ErrUnsupported):
		s.note("the kernel is booted compressed: %v", err)
	}
}
