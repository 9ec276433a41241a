package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/mvmrun/mvm/qemu/internal/qmpconn"
)

// agentFile is what QEMU calls the new end of the agent's channel between being
// handed it and using it.
const agentFile = "mvm-agent"

// KeepHalted makes QEMU stay when its guest has powered itself off, has asked for
// a reset, or has panicked, with its CPUs stopped and all it said on its way:
// [Process.Halted] tells. What becomes of it is the caller's to say, by
// [Process.Reset] or [QMP.Quit]; a signal ends it as ever. It needs QEMU 6.0.
func (q *QMP) KeepHalted(ctx context.Context) error {
	return q.Do(ctx, "set-action", map[string]string{"shutdown": "pause"}, nil)
}

// Halted holds a token when the guest has come to its end since the machine
// started or was reset: see [Process.Ending]. QEMU then ends by itself, unless
// it was told to [QMP.KeepHalted].
func (p *Process) Halted() <-chan struct{} { return p.halted }

// Reset resets the machine, whatever its guest does, and lets the guest boot
// anew. A machine that was paused stays so. Disks, networks and helpers are not
// touched.
//
// The agent's port gets a new connection, which [Process.Agent] returns from
// then on; the old one is closed. So nothing that was said to or by one guest
// reaches the next. If atRest is not nil it is called when the old guest has done
// its last and the new one its first is to come. After an error QEMU is of no use
// but to end.
//
// The firmware of a Q35 (SeaBIOS) restores itself when it is reset, and then asks
// for a second reset before it starts a kernel: the guest halts once more, without
// having said anything, and Reset is to be called once more.
//
// It must not be called twice at once. It needs QEMU 6.0.
func (p *Process) Reset(ctx context.Context, atRest func()) error {
	before, err := p.qmp.QueryStatus(ctx)
	if err != nil {
		return err
	}
	if err := p.qmp.Stop(ctx); err != nil {
		return err
	}
	if atRest != nil {
		atRest()
	}
	select {
	case <-p.resets: // an earlier one, which nobody waited for
	default:
	}
	if err := p.qmp.ResetAnyway(ctx); err != nil {
		return err
	}
	// QEMU resets after it has answered, and does not let a halted guest run
	// before.
	select {
	case <-p.resets:
	case <-p.done:
		return fmt.Errorf("reset: %w", ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("reset: %w", context.Cause(ctx))
	}
	p.forgetEnding()
	return p.rerun(ctx, before.Status == "paused")
}

// rerun lets a machine run that was reset, with a new connection for the agent's
// port.
func (p *Process) rerun(ctx context.Context, pause bool) error {
	old := p.Agent()
	if old == nil {
		if pause {
			return nil
		}
		return p.qmp.Cont(ctx)
	}
	conn, file, err := socketPair("agent")
	if err != nil {
		return err
	}
	defer file.Close() // QEMU has its own
	if err := p.qmp.rerun(ctx, file, pause); err != nil {
		conn.Close()
		return err
	}
	p.mu.Lock()
	p.agent = conn
	p.mu.Unlock()
	if err := old.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// rerun lets a machine run that was reset, and makes file its end of the agent's
// channel. QEMU (at least until 9) swaps a port's connection only while the
// machine runs. So the orders go out together, and are carried out before the
// guest's firmware is through.
func (q *QMP) rerun(ctx context.Context, file *os.File, pause bool) error {
	type (
		object = map[string]any
		order  struct {
			command string
			args    any
			file    *os.File
		}
	)
	orders := []order{
		{"getfd", object{"fdname": agentFile}, file},
		{"cont", nil, nil},
		{"chardev-change", object{"id": "agent", "backend": object{"type": "socket", "data": object{
			"addr": object{"type": "fd", "data": object{"str": agentFile}}, "server": false,
		}}}, nil},
	}
	if pause {
		orders = append(orders, order{"stop", nil, nil})
	}
	var calls []*qmpconn.Call
	var errs []error
	for _, o := range orders {
		call, err := q.conn.Begin(ctx, o.command, o.args, o.file)
		if err != nil {
			errs = append(errs, err)
			break
		}
		calls = append(calls, call)
	}
	for _, call := range calls {
		_, err := call.Wait(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forgetEnding is for a guest that starts over.
func (p *Process) forgetEnding() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending.Shutdown, p.ending.Panic = nil, nil
	select {
	case <-p.halted:
	default:
	}
}
