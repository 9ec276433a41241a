package initrd

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// unitDir is where the appended units go. systemd reads it before any other
// place (systemd.unit(5)), and nobody else's initrd has it: /etc/systemd/system
// is a symbolic link into the store in NixOS's, which the kernel would replace
// by an empty directory.
const unitDir = "/etc/systemd/system.control"

// Append writes base, an initrd of systemd, and after it a second archive with
// what lets that initrd mount the plan and leave mvm's agent in the guest: the
// plan's units, mvm-init with its orders, and the modules.
//
// Everything in the plan is mounted in the initrd, as by mvm's own.
func Append(ctx context.Context, w io.Writer, base io.Reader, s Spec) error {
	program, err := Init(s.Arch)
	if err != nil {
		return err
	}
	return appendTo(ctx, w, base, s, program)
}

// appendTo is Append with any program as mvm-init.
func appendTo(ctx context.Context, w io.Writer, base io.Reader, s Spec, program []byte) error {
	n, err := io.Copy(w, base)
	if err != nil {
		return fmt.Errorf("copy the guest's own initrd: %w", err)
	}
	// Where an archive begins is a multiple of four (buffer-format.rst).
	if err := pad(w, int(n&3)); err != nil {
		return err
	}
	files, err := s.files(ctx)
	if err != nil {
		return err
	}
	files = append(files, File{Path: handoff.InitrdProgram, Mode: Regular | 0o755, Data: program})
	for _, u := range slices.Concat(planUnits(s.Boot.Plan), agentUnits) {
		files = append(files, File{Path: path.Join(unitDir, u.Name), Mode: Regular | 0o644, Data: []byte(u.Text)})
	}
	return Archive(w, files)
}

// planUnits are the units of the whole plan.
func planUnits(plan mounts.Plan) []mounts.Unit {
	plan.Mounts = slices.Clone(plan.Mounts)
	for i := range plan.Mounts {
		plan.Mounts[i].NeededForBoot = true
	}
	return plan.InitrdUnits()
}

// agentUnits start mvm's agent before anything is mounted, for the modules that
// its service loads, and tell it when the initrd gives up. The service ends
// when the agent runs: see package guest.
var agentUnits = []mounts.Unit{
	{Name: "mvm-agent.service", Text: `[Unit]
Description=mvm's agent
DefaultDependencies=no
Wants=local-fs-pre.target
Before=local-fs-pre.target sysinit.target

[Service]
Type=oneshot
ExecStart=@` + handoff.InitrdProgram + ` ` + handoff.InitrdService + `
`},
	{Name: "sysinit.target.d/mvm.conf", Text: `[Unit]
Wants=mvm-agent.service
`},
	{Name: "mvm-emergency.service", Text: `[Unit]
Description=mvm hears that the initrd gave up
DefaultDependencies=no
After=mvm-agent.service

[Service]
Type=oneshot
ExecStart=@` + handoff.InitrdProgram + ` ` + handoff.EmergencyService + `
`},
	{Name: "emergency.target.d/mvm.conf", Text: `[Unit]
Wants=mvm-emergency.service
`},
}
