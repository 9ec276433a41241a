package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/qemu/internal/qmpconn"
)

// StartOptions are what Start needs beside the machine.
type StartOptions struct {
	// Binary is QEMU's path, or a name to look for in PATH. Empty means the
	// usual name for the machine's type.
	Binary string

	// Argv0 is what process listings show as QEMU's name. Empty means Binary.
	Argv0 string

	// Dir is QEMU's working directory. Empty means this process's own.
	Dir string

	// Env is QEMU's environment. Nil means this process's own.
	Env []string

	// Files has exactly the files that [Machine.Files] names. Start closes
	// them, whatever happens.
	Files map[string]*os.File

	// Credential is the user that QEMU runs as from its first instruction on.
	// Nil means this process's own.
	Credential *syscall.Credential

	// StderrLimit is how many bytes of QEMU's messages are kept, the last
	// ones. Zero means 64 KiB.
	StderrLimit int
}

// A Process is a running QEMU.
type Process struct {
	child   *child
	stderr  *ring
	qmp     *QMP
	console net.Conn // nil without a console
	done    chan struct{}
	err     error // set before done is closed

	halted chan struct{} // buffered for one token: the guest has ended
	resets chan struct{} // buffered for one token: the machine was reset

	mu     sync.Mutex
	ending Ending
	agent  net.Conn // nil without an agent
}

// An Ending is what QEMU said about its guest's end, since the machine started or
// was reset. It is kept apart from the queue of events, so that no flood can push
// it out.
type Ending struct {
	// Shutdown is the first SHUTDOWN event's data, or nil: what comes after
	// it is only how QEMU was made to end.
	Shutdown *Shutdown
	// Panic is the last GUEST_PANICKED event, or nil.
	Panic *Event
	// Last are the last events of all, oldest first.
	Last []Event
}

// lastEvents is how many events [Ending.Last] has: an ordinary life has ten.
const lastEvents = 16

// Start starts QEMU with the machine's CPUs stopped and returns when it answers
// on QMP; call [QMP.Cont] to let the guest run. If ctx ends first, or QEMU does,
// nothing is left of it. QEMU can gain no privileges, has the capabilities of
// [Machine.Privileges] and leaves no core. The error is a [HostError] when something is known to
// be amiss with this host, and wraps an [ExitError] when QEMU itself gave up.
func Start(ctx context.Context, m Machine, o StartOptions) (*Process, error) {
	defer func() {
		for _, f := range o.Files {
			f.Close()
		}
	}()
	if err := m.Check(); err != nil {
		return nil, err
	}
	if m.Standalone {
		return nil, errors.New("a standalone machine is for a shell: it has no QMP")
	}
	extra, err := inherited(m.Files(), o.Files)
	if err != nil {
		return nil, err
	}
	path, err := Find(o.Binary, m.family())
	if err != nil {
		return nil, err
	}
	p := &Process{
		stderr: &ring{limit: or(o.StderrLimit, 64<<10)}, done: make(chan struct{}),
		halted: make(chan struct{}, 1), resets: make(chan struct{}, 1),
	}
	cmd := &exec.Cmd{
		Path: path, Args: append([]string{or(o.Argv0, path)}, m.Args()...),
		Dir: o.Dir, Env: o.Env, Stdout: p.stderr, Stderr: p.stderr,
		SysProcAttr: &syscall.SysProcAttr{Credential: o.Credential},
	}
	prepare, err := m.confinement(cmd.SysProcAttr)
	if err != nil {
		return nil, err
	}
	if err := p.launch(cmd, &m, extra, prepare); err != nil {
		return nil, launchError(path, err)
	}
	if err := p.greet(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// launch makes the channels and starts QEMU with its ends of them.
func (p *Process) launch(cmd *exec.Cmd, m *Machine, extra []*os.File, prepare func() error) (err error) {
	var ours []io.Closer
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close() // QEMU has its own
		}
		if err != nil {
			for _, c := range ours {
				c.Close()
			}
		}
	}()
	pair := func(name string, want bool) net.Conn {
		if !want || err != nil {
			theirs = append(theirs, nil)
			return nil
		}
		var conn net.Conn
		var file *os.File
		if conn, file, err = socketPair(name); err != nil {
			return nil
		}
		ours, theirs = append(ours, conn), append(theirs, file)
		return conn
	}
	monitor := pair("qmp", true)
	p.console = pair("console", m.Console)
	p.agent = pair("agent", m.Agent != "")
	if err != nil {
		return err
	}
	// What this process was itself given by its parent and never used is not
	// QEMU's, either. Linux 5.11 is the first to know this; Go's own files
	// are closed anyway.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	cmd.ExtraFiles = append(slices.Clip(theirs), extra...)
	if p.child, err = startChild(cmd, prepare); err != nil {
		return err
	}
	// A core has the guest's memory in it. The guest does not run yet, and a
	// QEMU that has ended needs no limit.
	_ = unix.Prlimit(p.PID(), unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	p.qmp = &QMP{conn: qmpconn.New(monitor, p.note)}
	go p.wait()
	return nil
}

// wait is the goroutine that ends with QEMU.
func (p *Process) wait() {
	<-p.child.done
	// What QEMU said last may still be on its way.
	select {
	case <-p.qmp.Done():
	case <-time.After(lingering):
		p.qmp.conn.Close()
	}
	p.err = exitError(p.child.cmd.ProcessState, p.stderr.String())
	close(p.done)
}

// note keeps the events that tell why the guest ends, and that it starts over.
func (p *Process) note(e qmpconn.Event) {
	ev := Event(e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.ending.Last) + 1 - lastEvents; n > 0 {
		p.ending.Last = slices.Delete(p.ending.Last, 0, n)
	}
	p.ending.Last = append(p.ending.Last, ev)
	over := p.halted
	switch ev.Name {
	case "SHUTDOWN":
		if s, ok := ev.Shutdown(); ok && p.ending.Shutdown == nil {
			p.ending.Shutdown = &s
		}
	case "GUEST_PANICKED":
		p.ending.Panic = &ev
	case "RESET":
		over = p.resets
	default:
		return
	}
	select {
	case over <- struct{}{}:
	default: // one token says it all
	}
}

// greet waits for QEMU's greeting. If QEMU ends instead, that is the error.
func (p *Process) greet(ctx context.Context) error {
	g, err := p.qmp.conn.Handshake(ctx)
	if err == nil {
		p.qmp.greeting = g
		return nil
	}
	if errors.Is(err, ErrClosed) {
		// QEMU closes the connection a moment before it ends.
		select {
		case <-p.done:
			if p.err != nil {
				return p.err
			}
			return errors.New("QEMU exited with status 0 before it could be asked anything")
		case <-ctx.Done():
		case <-time.After(lingering):
		}
	}
	if line := telling(p.Stderr()); line != "" {
		return fmt.Errorf("start QEMU: %w; it wrote: %s", err, line)
	}
	return fmt.Errorf("start QEMU: %w", err)
}

// QMP returns the connection to the monitor.
func (p *Process) QMP() *QMP { return p.qmp }

// Console returns the guest's serial port, or nil if it has none. It reads as
// io.EOF after QEMU's last byte. A guest whose console nobody reads stalls.
func (p *Process) Console() net.Conn { return p.console }

// Agent returns the host's end of the agent's port, or nil if there is none. A
// [Process.Reset] makes a new one.
func (p *Process) Agent() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agent
}

// PID returns QEMU's process id.
func (p *Process) PID() int { return p.child.cmd.Process.Pid }

// Done is closed when QEMU has ended and has been reaped, and everything that
// it said has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns nil until Done is closed, and then whether QEMU ended badly: nil
// after status 0, otherwise an [ExitError], within a [HostError] if its cause
// is known.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Wait waits for QEMU's end and returns Err, or ctx's cause.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// State returns how QEMU ended, or nil before Done is closed.
func (p *Process) State() *os.ProcessState {
	select {
	case <-p.done:
		return p.child.cmd.ProcessState
	default:
		return nil
	}
}

// Stderr returns the last of what QEMU has written so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Ending returns what QEMU has said about its guest's end so far.
func (p *Process) Ending() Ending {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.ending
	e.Last = slices.Clone(e.Last)
	return e
}

// Signal sends a signal. The error is os.ErrProcessDone after QEMU's end; a
// process that has taken over its id is never hit.
func (p *Process) Signal(sig os.Signal) error { return p.child.cmd.Process.Signal(sig) }

// Close kills QEMU if it still runs, waits for its end, and closes the console,
// the agent's port and QMP. It may be called more than once.
func (p *Process) Close() error {
	p.child.kill()
	<-p.done
	errs := []error{p.qmp.conn.Close()}
	for _, c := range []net.Conn{p.console, p.Agent()} {
		if c == nil {
			continue
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
