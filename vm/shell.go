package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm/state"
)

// A Shell is a machine as a person can start it, without mvm.
type Shell struct {
	Binary  string
	Machine qemu.Machine
	// Notes say what such a machine lacks, and what must be done first: a
	// sentence each, in a fixed order.
	Notes []string
}

// PrepareShell makes what a machine needs that is started by hand: the store
// disk, its volumes, and an initrd that stays. The machine must not be running.
// The same definition on the same host gives the same Shell.
func PrepareShell(ctx context.Context, c *Config, dirs state.Dirs, progress func(storedisk.Progress)) (sh *Shell, err error) {
	tsc := qemu.StartTSC()
	place := dirs.Machine(c.MachineName())
	if err := place.Make(); err != nil {
		return nil, err
	}
	lock, err := place.Lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, place.RemoveRuntime(), lock.Release()) }()
	s := &supervisor{c: c, o: Options{Dirs: dirs, Progress: progress}, place: place, begin: time.Now(), journal: newJournal()}
	img, err := c.Resolve()
	if err != nil {
		return nil, err
	}
	sh = &Shell{}
	if sh.Binary, err = qemu.Find(c.QEMUBinary(), qemu.Type(c.MachineType(cmp.Or(img.Arch, runtime.GOARCH)))); err != nil {
		return nil, err
	}
	disk, err := s.storeDisk(ctx)
	if err != nil {
		return nil, err
	}
	registration := ""
	if disk != nil {
		defer disk.Close()
		registration = disk.Registration
	}
	host, _, err := DetectHost(ctx, c, img, place)
	if err != nil {
		return nil, err
	}
	// Shares and networks that leave it open do without a helper.
	host.Virtiofsd, host.Passt = nil, false
	host.CID = cmp.Or(host.CID, 3)
	if host.Accel == qemu.TCG {
		s.unpackKernel(ctx, &img)
		host.TSCKHz = SteadyTSC(dirs, tsc.KHz)
	}
	m, plan, err := Plan(c, img, host)
	if err != nil {
		return nil, err
	}
	m.Standalone, m.Initrd = true, place.ShellInitrd()
	if disk != nil {
		m.Drives[0].Path = disk.Path
	}
	if err := s.checkQEMU(ctx, sh.Binary, &m); err != nil {
		return nil, err
	}
	volumes, err := s.openVolumes(ctx, sh.Binary, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, volumes.close()) }()
	if err := s.makeInitrd(ctx, img, &m, plan, registration); err != nil {
		return nil, err
	}
	sh.Notes = c.withoutMvm(&m, place)
	sh.Machine = m
	return sh, m.Check()
}

// withoutMvm takes from the machine what only mvm can give it, and says what is
// to be done instead.
func (c *Config) withoutMvm(m *qemu.Machine, place state.Machine) []string {
	notes := []string{"mvm does not know of this guest: no ps, stop, exec or ready. Ctrl-A X ends it, Ctrl-A C is QEMU's monitor."}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if !m.Console {
		note("qemu.serialConsole is false: nothing will be seen of the guest.")
	}
	if c.User != "" {
		note("user: QEMU runs as you, with what you may do.")
	}
	for i := range m.Shares {
		if s := &m.Shares[i]; s.Path == "" {
			s.Socket = filepath.Join(place.State, fmt.Sprintf("shell-share%d.sock", i))
			note("shares[%d]: start a virtiofsd first that shares %s on the socket %s.", i, c.Shares[i].Source, s.Socket)
		}
	}
	var nics []qemu.NIC
	for i, n := range m.NICs {
		switch in := &c.Interfaces[i]; {
		case in.Type == "macvtap":
			note("interfaces[%d]: left out, since a macvtap is an open file.", i)
			continue
		case n.Tap != nil:
			note("interfaces[%d]: make the tap %s first (ip tuntap add %s mode tap vnet_hdr), and let QEMU's user have it.", i, in.ID, in.ID)
		case n.Stream != nil:
			n.Stream.Socket = filepath.Join(place.State, fmt.Sprintf("shell-passt%d.sock", i))
			note("interfaces[%d]: start passt first, on the socket %s.", i, n.Stream.Socket)
		}
		nics = append(nics, n)
	}
	m.NICs = nics
	if c.VSock.CID != 0 {
		note("vsock.cid: it must be free, which nobody has checked.")
	}
	for i := range c.Devices {
		if c.Devices[i].Bus == "pci" {
			note("devices[%d]: bind %s to vfio-pci first.", i, c.Devices[i].Path)
		}
	}
	if c.PreStart != "" {
		note("preStart: run it first, in %s.", place.State)
	}
	if c.ExtraArgsScript != "" {
		note("extraArgsScript: add what it prints.")
	}
	return notes
}

// A steadyTSC is the frequency of the time stamp counter, which does not change
// before the next boot.
type steadyTSC struct {
	BootID string `json:"bootId"`
	KHz    int    `json:"khz"`
}

// SteadyTSC is measure's result, but always the first one since the host's boot:
// two measurements differ in their last digits. A cache that cannot be written
// makes them differ.
func SteadyTSC(dirs state.Dirs, measure func() int) int {
	self, err := state.Self()
	if err != nil {
		return measure()
	}
	var kept steadyTSC
	file := filepath.Join(dirs.Cache, "tsc.json")
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &kept) == nil && kept.BootID == self.BootID && kept.KHz > 0 {
		return kept.KHz
	}
	kept = steadyTSC{self.BootID, measure()}
	if b, err := json.Marshal(kept); err == nil && kept.KHz > 0 {
		_ = state.WriteFile(file, b)
	}
	return kept.KHz
}
