package vm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
)

// tryPasst finds passt and starts one for nobody.
func (c *Config) tryPasst(ctx context.Context) error {
	p, err := sidecar.FindPasst(c.Path(c.Passt.Package))
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("it is not installed")
		}
		return err
	}
	return p.Works(ctx)
}

// notePasst says so when passt would have been taken, had it worked.
func (s *supervisor) notePasst(host Host) {
	if !s.c.leavesBackendOpen() || host.Passt {
		return
	}
	s.note("the network is QEMU's own, for passt does not work here: %s", host.NoPasst)
}

// startPassts starts a passt for each interface that is planned with one.
func (s *supervisor) startPassts(ctx context.Context, m *qemu.Machine, h *helpers) error {
	var program *sidecar.PasstProgram
	for i := range s.c.Interfaces {
		in := &s.c.Interfaces[i]
		if in.Type != "user" || m.NICs[i].Stream == nil {
			continue
		}
		if program == nil {
			var err error
			if program, err = sidecar.FindPasst(s.c.Path(s.c.Passt.Package)); err != nil {
				return err
			}
		}
		p, err := s.c.passt(in, &m.NICs[i])
		if err != nil {
			return fmt.Errorf("interfaces[%d]: %w", i, err)
		}
		helper, socket, err := program.Start(ctx, p)
		if err != nil {
			return fmt.Errorf("interfaces[%d]: %w", i, err)
		}
		h.running = append(h.running, helper)
		h.files[passtFile(in.ID)] = socket
	}
	return nil
}
