package vm

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/initrd"
	"github.com/mvmrun/mvm/vm/kmod"
)

// makeInitrd writes the machine's initrd to where QEMU is told to look.
func (s *supervisor) makeInitrd(ctx context.Context, img Image, m *qemu.Machine, plan mounts.Plan, registration string) (err error) {
	spec := initrd.Spec{Boot: handoff.Boot{
		Version:  handoff.Version,
		Hostname: s.c.MachineName(),
		Plan:     plan,
		Init:     img.Init,
	}, Arch: img.Arch}
	if spec.Modules, err = modules(img, m, plan); err != nil {
		return err
	}
	if registration != "" {
		if spec.Registration, err = os.ReadFile(registration); err != nil {
			return err
		}
	}
	// The run-time directory is this machine's alone, and gone after a crash
	// of the host, so the file needs neither a temporary name nor a sync.
	f, err := os.OpenFile(m.Initrd, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if s.c.InitrdPath == "" {
		return initrd.Build(ctx, f, spec)
	}
	return s.appendInitrd(ctx, f, spec)
}

// appendInitrd writes the initrd that the definition names, and what mvm adds.
func (s *supervisor) appendInitrd(ctx context.Context, w io.Writer, spec initrd.Spec) error {
	const hint = "set initrdPath to an initrd of systemd that this user can read, or leave it out for mvm's own"
	file, err := s.c.follow(s.c.Path(s.c.InitrdPath))
	if err != nil {
		return &HostError{Op: "initrdPath", Err: err, Hint: hint}
	}
	base, err := os.Open(file)
	if err != nil {
		return &HostError{Op: "initrdPath", Err: err, Hint: hint}
	}
	defer base.Close()
	return initrd.Append(ctx, w, base, spec)
}

// modules are the files that the guest's kernel needs to carry out the plan on
// this machine, in the order to load them.
func modules(img Image, m *qemu.Machine, plan mounts.Plan) ([]kmod.Module, error) {
	if img.Modules == "" {
		return nil, nil
	}
	tree, err := kmod.Open(img.Modules)
	if err != nil {
		return nil, err
	}
	wants := append(kmod.ForMachine(kmodMachine(m)), kmod.ForPlan(plan)...)
	return tree.Resolve(wants)
}

// kmodMachine is the machine in the words of package kmod.
func kmodMachine(m *qemu.Machine) kmod.Machine {
	return kmod.Machine{
		PCI:      m.NeedsPCI(),
		Disks:    len(m.Drives) > 0,
		Network:  len(m.NICs) > 0,
		Balloon:  m.Balloon,
		Memory:   m.HotplugMem > 0,
		VSock:    m.Vsock != nil,
		Graphics: m.Graphics != nil,
		RNG:      true,
		// The machine's id is systemd's business, and systemd loads it itself.
		FWCfg: slices.ContainsFunc(m.Credentials, func(c qemu.Credential) bool { return c.Text == "" }),
	}
}
