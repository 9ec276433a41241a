package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/hostdev"
	"github.com/mvmrun/mvm/vm/machined"
	"github.com/mvmrun/mvm/vm/sdnotify"
	"github.com/mvmrun/mvm/vm/vsock"
)

// held is what of the host a machine has for itself for as long as it lives, also
// while its QEMU is started anew.
type held struct {
	vsock *vsock.Address // nil without vsock
	loan  *hostdev.Loan  // nil without PCI devices

	machined *machined.Bus      // nil without registration
	systemd  *sdnotify.Listener // nil without vsock, or if nobody can be heard

	volumes volumes // opened last, when nothing else is in the machine's way
}

// vsockFile names the guest's end of vsock among QEMU's files.
const vsockFile = "vsock"

// hold takes what the definition asks for, for a QEMU that runs as cred, or as this
// user if that is nil, and tells planning what was picked. When something cannot be
// had, nothing is held.
func (s *supervisor) hold(ctx context.Context, host *Host, cred *syscall.Credential) (*held, error) {
	h := &held{}
	if err := s.findMachined(ctx, h); err != nil {
		return nil, err
	}
	if err := s.holdDevices(h, cred); err != nil {
		return nil, errors.Join(err, h.release())
	}
	if cid := s.c.VSock.CID; cid != 0 {
		a, err := vsock.Claim(s.c.MachineName(), uint32(max(cid, 0))) // CIDAuto is negative
		if err != nil {
			return nil, errors.Join(err, h.release())
		}
		h.vsock, host.CID = a, a.CID
		s.listen(h, host)
	}
	return h, nil
}

// holdDevices takes the PCI devices, and looks for the USB devices.
func (s *supervisor) holdDevices(h *held, cred *syscall.Credential) error {
	var (
		pci   []string
		wrong *multierror.Error
	)
	for i := range s.c.Devices {
		d := &s.c.Devices[i]
		if d.Bus == "pci" {
			pci = append(pci, d.Path)
			continue
		}
		if err := d.findUSB(cred); err != nil {
			wrong = multierror.Append(wrong, fmt.Errorf("devices[%d]: %w", i, err))
		}
	}
	if wrong != nil {
		wrong.ErrorFormat = listErrors
		return wrong
	}
	note := s.place.Borrowed()
	if len(pci) == 0 {
		return hostdev.Reclaim(note) // of a definition that had some
	}
	if err := hostdev.AllowLocking(s.c.MemMiB() + s.c.HotplugMem); err != nil {
		return err
	}
	var err error
	owner := 0
	if cred != nil {
		owner = int(cred.Uid)
	}
	if h.loan, err = hostdev.Borrow(pci, note, owner); err != nil {
		return err
	}
	for _, what := range h.loan.Taken() {
		s.note("took %s", what)
	}
	return nil
}

// findUSB checks that the device is there and that QEMU, as cred, may open it.
func (d *Device) findUSB(cred *syscall.Credential) error {
	props, err := qemu.ParseProps(d.Path)
	if err != nil {
		return err
	}
	var u hostdev.USB
	for _, p := range props {
		if err := u.Set(p.Key, p.Value); err != nil {
			return err
		}
	}
	file, err := hostdev.FindUSB(u)
	if err != nil || cred == nil {
		return err
	}
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	const readWrite = 0o6
	if !permits(fi, cred, readWrite) {
		return &HostError{
			Op: fmt.Sprintf("open %s as user %d", file, cred.Uid), Err: fs.ErrPermission,
			Hint: "give the device to that user, or to a group of theirs, by a rule of udev's",
		}
	}
	return nil
}

// vsockCID is the machine's address for vsock, 0 without one.
func vsockCID(m *qemu.Machine) uint32 {
	if m.Vsock == nil {
		return 0
	}
	return m.Vsock.CID
}

// open adds what is held to the files of one run of QEMU.
func (h *held) open(files map[string]*os.File) error {
	if h.vsock != nil {
		f, err := h.vsock.Open()
		if err != nil {
			return err
		}
		files[vsockFile] = f
	}
	if h.systemd != nil {
		f, err := sealed("credential", []byte(h.systemd.Address()))
		if err != nil {
			return err
		}
		files[credentialFile(sdnotify.Credential)] = f
	}
	return h.volumes.lend(files)
}

// release gives everything back.
func (h *held) release() error {
	errs := []error{h.volumes.close()}
	if h.systemd != nil {
		errs = append(errs, h.systemd.Close())
	}
	if h.vsock != nil {
		errs = append(errs, h.vsock.Release())
	}
	if h.loan != nil {
		errs = append(errs, h.loan.Return())
	}
	if h.machined != nil {
		errs = append(errs, h.machined.Close())
	}
	return errors.Join(errs...)
}
