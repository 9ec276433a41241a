package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/kernel"
	"github.com/mvmrun/mvm/vm/sidecar"
	"github.com/mvmrun/mvm/vm/state"
	"github.com/mvmrun/mvm/vm/volume"
	"github.com/mvmrun/mvm/vm/vsock"
)

// volumes makes the images that are to be made and are not there, or are too
// small, and checks that the others are there. What is made belongs to QEMU's
// user.
func (s *supervisor) volumes(ctx context.Context, cred *syscall.Credential) error {
	var wrong *multierror.Error
	for i := range s.c.Volumes {
		v := &s.c.Volumes[i]
		spec := volume.Spec{
			Path: v.path(s.place), MiB: v.Size, ReadOnly: v.ReadOnly,
			FSType: v.FileSystem(), Label: v.Label, Args: v.MkfsExtraArgs,
		}
		if !v.CreatesImage() {
			if err := volume.Exists(spec.Path); err != nil {
				wrong = multierror.Append(wrong, fmt.Errorf("volumes[%d]: %w", i, err))
			}
			continue
		}
		switch done, err := volume.Ensure(ctx, spec); {
		case err != nil:
			wrong = multierror.Append(wrong, fmt.Errorf("volumes[%d]: %w", i, err))
		case done == volume.Made:
			if cred != nil {
				if err := os.Chown(spec.Path, int(cred.Uid), int(cred.Gid)); err != nil {
					wrong = multierror.Append(wrong, fmt.Errorf("volumes[%d]: %w", i, err))
				}
			}
			s.note("made the volume %s (%s, %d MiB)", spec.Path, spec.FSType, spec.MiB)
		case done == volume.Grown:
			s.note("the volume %s has %d MiB now; the guest grows the file system on it", spec.Path, spec.MiB)
		}
	}
	if wrong != nil {
		wrong.ErrorFormat = listErrors
	}
	return wrong.ErrorOrNil()
}

// DetectHost finds out what planning must know of this host for a machine that
// boots the image. Why is what the
// user should be told about the accelerator, or "".
func DetectHost(ctx context.Context, c *Config, img Image, place state.Machine) (host Host, why string, err error) {
	host = Host{Arch: runtime.GOARCH, Place: place}
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
