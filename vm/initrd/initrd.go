package initrd

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/kmod"
)

// registrationPath is where the initrd has the closure's registration.
const registrationPath = "/mvm/registration"

// A Spec is what goes into an initrd.
type Spec struct {
	// Boot is the orders for mvm-init. Build fills in the versions where they
	// are zero, and Modules and Registration from the fields below.
	Boot handoff.Boot

	// Arch is the guest's architecture in Go's words. Empty means this host's.
	Arch string

	// Modules are the kernel modules to load, in that order.
	Modules []kmod.Module

	// Unsigned leaves the modules' signatures out, which saves a guest under
	// TCG a tenth of its boot and taints its kernel: see [kmod.Unsigned].
	Unsigned bool

	// Registration is the closure's registration, in the form of nix-store
	// --dump-db. Nil for none.
	Registration []byte
}

// ErrNoInit says that this program was built without mvm-init in it.
var ErrNoInit = errors.New("this mvm was built without mvm-init: run make build")

//go:embed bin
var bin embed.FS

// Init returns the mvm-init for guests of an architecture, in Go's words; empty
// means this host's. The error wraps [ErrNoInit] if it is not embedded.
func Init(arch string) ([]byte, error) {
	arch = cmp.Or(arch, runtime.GOARCH)
	b, err := bin.ReadFile("bin/mvm-init-" + arch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("for %s: %w", arch, ErrNoInit)
	}
	return b, err
}

// Build writes the initrd that s describes.
func Build(ctx context.Context, w io.Writer, s Spec) error {
	program, err := Init(s.Arch)
	if err != nil {
		return err
	}
	return build(ctx, w, s, program)
}

// build is Build with any program as /init.
func build(ctx context.Context, w io.Writer, s Spec, program []byte) error {
	files := []File{
		{Path: "/init", Mode: Regular | 0o755, Data: program},
		{Path: "/dev", Mode: Directory | 0o755},
		// The kernel opens it for mvm-init, before devtmpfs is mounted.
		{Path: "/dev/console", Mode: CharDev | 0o600, Major: 5, Minor: 1},
		{Path: "/mnt-root", Mode: Directory | 0o755},
		{Path: "/proc", Mode: Directory | 0o555},
		{Path: "/run", Mode: Directory | 0o755},
		{Path: "/sys", Mode: Directory | 0o555},
	}
	more, err := s.files(ctx)
	if err != nil {
		return err
	}
	return Archive(w, append(files, more...))
}

// files are the orders for mvm-init, and what they name.
func (s Spec) files(ctx context.Context) ([]File, error) {
	boot := s.Boot
	if boot.Version == 0 {
		boot.Version = handoff.Version
	}
	if boot.Plan.Version == 0 {
		boot.Plan.Version = mounts.Version
	}
	var files []File
	boot.Modules = nil
	for _, m := range s.Modules {
		data, err := m.Read(ctx)
		if err != nil {
			return nil, err
		}
		if s.Unsigned {
			data = kmod.Unsigned(data)
		}
		name := m.Name + ".ko"
		boot.Modules = append(boot.Modules, name)
		files = append(files, File{Path: path.Join(handoff.ModulesDir, name), Mode: Regular | 0o644, Data: data})
	}
	if boot.Registration = ""; s.Registration != nil {
		boot.Registration = registrationPath
		files = append(files, File{Path: registrationPath, Mode: Regular | 0o644, Data: s.Registration})
	}
	orders, err := handoff.EncodeBoot(boot)
	if err != nil {
		return nil, err
	}
	return append(files, File{Path: handoff.BootPath, Mode: Regular | 0o644, Data: orders}), nil
}
