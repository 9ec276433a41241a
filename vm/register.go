package vm

import (
	"context"
	"net"
	"time"

	"github.com/mvmrun/mvm/vm/machined"
)

// registerLimit is how long machined may take for an answer. It is started by the
// system's bus when it does not run.
const registerLimit = 30 * time.Second

// findMachined connects to machined when the definition asks for it.
func (s *supervisor) findMachined(ctx context.Context, h *held) error {
	if !s.c.RegisterWithMachined {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, registerLimit)
	defer cancel()
	var err error
	h.machined, err = machined.Connect(ctx)
	return err
}

// register tells machined of a QEMU that has been started. Stops receives when
// machined asks for the machine's end; undo is to be called when QEMU has ended.
func (s *supervisor) register(ctx context.Context, bus *machined.Bus, qemu int) (stops <-chan struct{}, undo func(), err error) {
	if bus == nil {
		return nil, func() {}, nil
	}
	m := machined.Machine{Name: s.c.MachineName(), UUID: s.c.UUID(), Leader: qemu, StopLimit: s.c.StopLimit()}
	for i := range s.c.Interfaces {
		if in, err := net.InterfaceByName(s.c.Interfaces[i].ID); err == nil && s.c.Interfaces[i].Type != "user" {
			m.Interfaces = append(m.Interfaces, in.Index)
		}
	}
	limited, cancel := context.WithTimeout(ctx, registerLimit)
	defer cancel()
	if err := bus.Register(limited, m); err != nil {
		return nil, nil, err
	}
	return bus.Stops(), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registerLimit)
		defer cancel()
		if err := bus.Unregister(ctx, m.Name); err != nil {
			s.note("%v", err)
		}
	}, nil
}
