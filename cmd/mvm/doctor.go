package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/sidecar"
	"github.com/mvmrun/mvm/vm/state"
	"github.com/mvmrun/mvm/vm/volume"
)

// A finding is one thing that doctor looked at.
type finding struct {
	What string `json:"what"`
	// State is "ok", "missing" for what some machines need, or "broken" for
	// what every machine needs.
	State string `json:"state"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

func newDoctor(e env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor [NAME]",
		GroupID: "host",
		Short:   "Find out whether this host can run machines",
		Long: `Doctor looks at what machines need on this host, and proves it: when there is a
kernel, it makes a store disk, boots a guest from it that does nothing but report
and power off, and says how long that took. The kernel is that of the definition
NAME, or else the newest in /boot.

It fails if something is broken that every machine needs.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			base := &vm.Config{}
			if len(args) > 0 {
				c, _, err := e.load(args[0])
				if err != nil {
					return err
				}
				base = c
			}
			findings := e.examine(cmd.Context(), base)
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), findings); err != nil {
					return err
				}
			} else if err := printFindings(cmd.OutOrStdout(), findings); err != nil {
				return err
			}
			for _, f := range findings {
				if f.State == "broken" {
					return &endedError{code: exitHost}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of objects")
	return cmd
}

func printFindings(w io.Writer, findings []finding) error {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%-8s %-22s %s\n", f.State, f.What, f.Text)
		if f.Hint != "" {
			fmt.Fprintf(&b, "%-8s %-22s hint: %s\n", "", "", f.Hint)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// examine looks at all of it, and boots a guest.
func (e env) examine(ctx context.Context, base *vm.Config) []finding {
	found := e.findings(ctx, base)
	for _, f := range found {
		if f.State == "broken" && (f.What == findQEMU || f.What == findAccel) {
			return found
		}
	}
	return append(found, e.probeGuest(ctx, base))
}

// What a guest cannot be booted without.
const (
	findQEMU  = "qemu"
	findAccel = "accelerator"
)

// findings is all that can be looked at without booting a guest.
func (e env) findings(ctx context.Context, base *vm.Config) []finding {
	if base == nil {
		base = &vm.Config{}
	}
	var found []finding
	img, err := base.Resolve()
	if err != nil {
		img = base.Unresolved() // the probe guest says what is wrong
	}
	binary, err := qemu.Find(base.QEMUBinary(), qemu.Type(base.MachineType(cmp.Or(img.Arch, runtime.GOARCH))))
	found = append(found, outcome(findQEMU, binary, err, "broken"))
	if err == nil {
		found = append(found, e.abilities(ctx, base, img, binary)...)
	}
	host, why, err := vm.DetectHost(ctx, base, img, state.Machine{})
	text := string(host.Accel)
	if why != "" {
		text = why
	}
	found = append(found, outcome(findAccel, text, err, "broken"))
	found = append(found, e.directories()...)
	for _, t := range []struct{ program, pkg, what string }{
		{"nix-store", "nix-bin", "completes closures; not needed with closureInfo"},
		{"mkfs.ext4", "e2fsprogs", "makes volumes, and ext4 store disks"},
		{"mkfs.btrfs", "btrfs-progs", "makes btrfs volumes and store disks"},
		{"mkfs.xfs", "xfsprogs", "makes xfs volumes"},
		{"mkfs.vfat", "dosfstools", "makes vfat volumes"},
		{"qemu-img", "qemu-utils", "makes volumes that are qcow2, vhd or vhdx"},
		{"mkfs.erofs", "erofs-utils", "makes compressed erofs store disks"},
		{"mksquashfs", "squashfs-tools", "makes squashfs store disks"},
	} {
		found = append(found, tool(t.program, t.pkg, t.what))
	}
	return append(found, passt(ctx, base))
}

// passt tries it, as a machine does that leaves the back-end of its network open.
func passt(ctx context.Context, base *vm.Config) finding {
	p, err := sidecar.FindPasst(base.Path(base.Passt.Package))
	if err != nil {
		return finding{What: "passt", State: "missing", Text: "it makes networks of type user outside of QEMU, and forwards IPv6 ports", Hint: "install passt"}
	}
	return outcome("passt", p.Path, p.Works(ctx), "missing")
}

// abilities are what QEMU and the kernel can do for a guest. Only QEMU itself is
// needed by every machine.
func (e env) abilities(ctx context.Context, base *vm.Config, img vm.Image, binary string) []finding {
	dirs, err := e.dirs()
	if err != nil {
		dirs = systemDirs
	}
	caps, err := vm.ProbeQEMU(ctx, dirs, binary)
	found := []finding{outcome("qemu answers", "version "+caps.Version.String(), err, "broken")}
	if err != nil {
		return found
	}
	found = append(found, outcome("qemu has", fmt.Sprintf("accelerators %s; %d machines, %d devices; displays %s; networks %s",
		strings.Join(caps.Accels, " "), len(caps.Machines), len(caps.Devices),
		strings.Join(caps.Displays, " "), strings.Join(caps.Netdevs, " ")), nil, ""))
	// What every machine has, and what this one has besides.
	m, err := planned(ctx, base, img, dirs.Machine(base.MachineName()))
	text := "all that a plain machine needs"
	if base.File() != "" {
		text = "all that " + base.MachineName() + " needs"
	}
	if err == nil {
		err = caps.Check(&m)
	}
	found = append(found, outcome("qemu suffices", text, err, "broken"))
	found = append(found, outcome("io_uring", "works", qemu.IOUring(), "missing"))
	return append(found, outcome("vhost-net", "/dev/vhost-net", vhostNet(), "missing"))
}

// planned is the machine as it would be started.
func planned(ctx context.Context, c *vm.Config, img vm.Image, place state.Machine) (qemu.Machine, error) {
	host, _, err := vm.DetectHost(ctx, c, img, place)
	if err != nil {
		return qemu.Machine{}, err
	}
	if host.CID == 0 {
		host.CID = 3 // any will do for what nobody starts
	}
	m, _, err := vm.Plan(c, img, host)
	return m, err
}

func vhostNet() error {
	f, err := os.OpenFile("/dev/vhost-net", os.O_RDWR, 0)
	if err != nil {
		return &vm.HostError{Op: "move packets of taps in the kernel", Err: err, Hint: "load the vhost_net module for tap.vhost"}
	}
	return f.Close()
}

func outcome(what, text string, err error, bad string) finding {
	if err == nil {
		return finding{What: what, State: "ok", Text: text}
	}
	f := finding{What: what, State: bad, Text: err.Error()}
	if h := hints(err); len(h) > 0 {
		f.Hint = h[0]
	}
	return f
}

func tool(program, pkg, what string) finding {
	if path, err := volume.LookPath(program); err == nil {
		return finding{What: program, State: "ok", Text: path}
	}
	return finding{What: program, State: "missing", Text: "it " + what, Hint: "install " + pkg}
}

// directories checks that machines can live here.
func (e env) directories() []finding {
	dirs, err := e.dirs()
	if err != nil {
		return []finding{outcome("directories", "", err, "broken")}
	}
	var found []finding
	for _, d := range []struct{ what, dir string }{
		{"state directory", dirs.State}, {"run-time directory", dirs.Runtime}, {"cache directory", dirs.Cache},
	} {
		err := writable(d.dir)
		if err != nil {
			err = &vm.HostError{Op: "write in " + d.dir, Err: err, Hint: "let this user write there, or set another directory (MVM_STATE_DIR, MVM_RUNTIME_DIR, MVM_CACHE_DIR)"}
		}
		found = append(found, outcome(d.what, d.dir, err, "broken"))
	}
	return found
}

// writable tries to make a file in dir, or in the nearest directory above it
// that exists.
func writable(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			break
		}
	}
	f, err := os.CreateTemp(dir, ".mvm-doctor-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// probeStatus is what the probe guest reports: a number that no accident gives.
const probeStatus = 42

// probeGuest boots a guest that has a store disk with one file, and whose init
// is the program that reports an exit status and powers off.
func (e env) probeGuest(ctx context.Context, base *vm.Config) finding {
	const what = "probe guest"
	dir, err := os.MkdirTemp("", "mvm-doctor-")
	if err != nil {
		return outcome(what, "", err, "broken")
	}
	defer os.RemoveAll(dir)
	c, err := probeDefinition(base, dir)
	if err != nil {
		return outcome(what, "", err, "broken")
	}
	if _, err := c.Resolve(); err != nil {
		f := outcome(what, "", err, "missing")
		f.Hint = "name a definition with a kernel: mvm doctor NAME"
		return f
	}
	begin := time.Now()
	exit, err := vm.Run(ctx, c, vm.Options{Dirs: state.Dirs{
		State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run"), Cache: filepath.Join(dir, "cache"),
	}})
	switch {
	case err != nil:
		return outcome(what, "", err, "broken")
	case exit.Reason == control.GuestPoweroff && exit.Status != nil && *exit.Status == probeStatus:
		return finding{What: what, State: "ok", Text: fmt.Sprintf("booted, mounted its store disk, reported and powered off in %.1f s", time.Since(begin).Seconds())}
	}
	text := string(exit.Reason)
	if exit.Detail != "" {
		text = exit.Detail
	}
	return finding{What: what, State: "broken", Text: text, Hint: exit.Hint}
}

// probeDefinition is a machine with the kernel of base and a store of its own.
func probeDefinition(base *vm.Config, dir string) (*vm.Config, error) {
	img, err := base.Resolve()
	if err != nil {
		// Without a kernel there is nothing to boot, and Resolve will say so
		// again; without an init there is one here.
		img = base.Unresolved()
	}
	store := filepath.Join(dir, "nix", "store")
	probe := filepath.Join(store, "00000000000000000000000000000000-mvm-doctor")
	if err := os.MkdirAll(store, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(probe, []byte("probe\n"), 0o444); err != nil {
		return nil, err
	}
	info := filepath.Join(dir, "closure")
	if err := os.Mkdir(info, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(info, "store-paths"), []byte(probe+"\n"), 0o644); err != nil {
		return nil, err
	}
	return &vm.Config{
		Name: "mvm-doctor", Kernel: img.Kernel, Modules: img.Modules,
		Init:     vm.Command{handoff.PoweroffPath, fmt.Sprint(probeStatus)},
		StoreDir: store, ClosureInfo: info, QEMU: vm.QEMU{Package: base.QEMU.Package},
		Accel: base.Accel,
	}, nil
}
