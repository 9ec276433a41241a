package vm

import (
	"errors"
	"os"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/vsock"
)

// held is what of the host a machine has for itself for as long as it lives, also
// while its QEMU is started anew.
type held struct {
	vsock *vsock.Address // nil without vsock
}

// vsockFile names the guest's end of vsock among QEMU's files.
const vsockFile = "vsock"

// hold takes what the definition asks for, and tells planning what was picked. When
// something cannot be had, nothing is held.
func (s *supervisor) hold(host *Host) (*held, error) {
	h := &held{}
	if cid := s.c.VSock.CID; cid != 0 {
		a, err := vsock.Claim(s.c.MachineName(), uint32(max(cid, 0))) // CIDAuto is negative
		if err != nil {
			return nil, err
		}
		h.vsock, host.CID = a, a.CID
	}
	return h, nil
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
	if h.vsock == nil {
		return nil
	}
	f, err := h.vsock.Open()
	if err == nil {
		files[vsockFile] = f
	}
	return err
}

// release gives everything back.
func (h *held) release() error {
	var errs []error
	if h.vsock != nil {
		errs = append(errs, h.vsock.Release())
	}
	return errors.Join(errs...)
}
