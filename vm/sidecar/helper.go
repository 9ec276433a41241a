package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stopGrace is how long a helper may take to end after SIGTERM. It has
	// nothing to save: what a guest wrote is the host kernel's already.
	stopGrace = 2 * time.Second

	// killGrace is how long the kernel may take to end a process that was
	// killed. Only a system call on a dead file server takes longer.
	killGrace = 5 * time.Second

	// lingering is how long a helper's pipe may stay open after its end. It
	// closes with the last process of the group, which is killed by then.
	lingering = time.Second
)

// A Helper is a running program that cannot outlive this one. It has a process
// group of its own, so that Ctrl-C on the terminal does not reach it.
type Helper struct {
	name string
	cmd  *exec.Cmd
	tail *tail
	done chan struct{} // closed when it is gone, and all it started is, or is on its way out

	relay *relay // ends with it; nil for most

	mu      sync.Mutex
	brisk   bool // it has nothing to do at its end, and may be killed at once
	stopped bool // Stop came before the end
	err     error
}

// launch starts cmd. If prepare is not nil it runs first, on a thread from
// which the program inherits whatever prepare changes, and which nothing else
// will ever run on.
func launch(name string, cmd *exec.Cmd, prepare func() error) (*Helper, error) {
	return launchWith(nil, name, cmd, prepare)
}

// launchWith is launch for a program that has a relay, which it takes over.
func launchWith(relay *relay, name string, cmd *exec.Cmd, prepare func() error) (*Helper, error) {
	h := &Helper{name: name, cmd: cmd, tail: new(tail), done: make(chan struct{}), relay: relay}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	cmd.Dir = "/" // it must not keep a file system busy
	cmd.Stdout, cmd.Stderr = h.tail, h.tail
	cmd.WaitDelay = lingering
	started := make(chan error)
	go h.run(prepare, started)
	if err := <-started; err != nil {
		if relay != nil {
			relay.stop()
		}
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return h, nil
}

// run starts the program and ends when it is gone. The kernel sends the
// parent-death signal when the thread ends that made the child
// (go.dev/issue/27505), so this thread lives as long as the child does. It is
// never unlocked, and so ends with this goroutine.
func (h *Helper) run(prepare func() error, started chan<- error) {
	runtime.LockOSThread()
	if prepare != nil && unix.Gettid() == unix.Getpid() {
		// The main thread stands for the whole process in /proc and cannot
		// be ended: leave it alone, and keep it so that the next goroutine
		// cannot be on it, either.
		over := make(chan struct{})
		go func() {
			defer close(over)
			h.run(prepare, started)
		}()
		<-over
		runtime.UnlockOSThread()
		return
	}
	if prepare != nil {
		if err := prepare(); err != nil {
			started <- err
			return
		}
	}
	if err := h.cmd.Start(); err != nil {
		started <- launchError(h.cmd, err)
		return
	}
	started <- nil
	h.reap()
	if h.relay != nil {
		h.relay.stop()
	}
	close(h.done)
}

// reap waits for the program and takes down what it leaves behind.
func (h *Helper) reap() {
	pid := h.cmd.Process.Pid
	// Until it is reaped its id, which is the group's, belongs to nobody else.
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-pid, unix.SIGKILL) // it fails if nothing is left
	// The state has all there is to know; an error of Wait says the same, or
	// that a pipe was held open.
	_ = h.cmd.Wait()

	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped {
		h.err = died(h.name, h.cmd.Args, h.cmd.ProcessState, h.tail.String())
	}
}

// Name says what the helper does: "virtiofsd of share src".
func (h *Helper) Name() string { return h.name }

// PID returns the helper's process id.
func (h *Helper) PID() int { return h.cmd.Process.Pid }

// Argv returns the helper's argument vector, which is not to be changed.
func (h *Helper) Argv() []string { return h.cmd.Args }

// Stderr returns the last of what the helper has written so far.
func (h *Helper) Stderr() string { return h.tail.String() }

// Done is closed when the helper is gone and has been reaped. What it started
// has been killed by then, and has its files closed.
func (h *Helper) Done() <-chan struct{} { return h.done }

// Err returns nil until Done is closed, and nil after a Stop. Otherwise it is a
// [Died], even after status 0: while a guest runs, its helpers must.
//
// A helper also ends by itself when QEMU hangs up. A caller that waits for both
// may hear of the helper first, and should then give QEMU a moment to end
// before it believes that the helper's death is the cause.
func (h *Helper) Err() error {
	select {
	case <-h.done:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.err
	default:
		return nil
	}
}

// Stop asks the helper to end, kills it if that takes more than two seconds or
// if ctx ends, and waits until it is gone. The error says that not even that
// was enough. It may be called more than once, and at any time.
func (h *Helper) Stop(ctx context.Context) error {
	h.mu.Lock()
	h.stopped = true
	ask := syscall.SIGTERM
	if h.brisk {
		ask = syscall.SIGKILL
	}
	h.mu.Unlock()
	_ = h.cmd.Process.Signal(ask) // it fails if it has ended
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-h.done:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}
	_ = h.cmd.Process.Kill()
	select {
	case <-h.done:
		return nil
	case <-time.After(killGrace):
		return fmt.Errorf("%s (process %d) is still there %v after SIGKILL", h.name, h.PID(), killGrace)
	}
}

// hurry makes Stop kill the helper, which has nothing to take back.
func (h *Helper) hurry() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.brisk = true
}

// launchError says why a program could not be executed.
func launchError(cmd *exec.Cmd, err error) error {
	e := &HostError{Op: "execute " + cmd.Path, Err: err, Hint: "check that this host has processes, files and memory to spare"}
	// Go's message is "fork/exec path: why".
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		e.Err = errno
	}
	switch {
	case cmd.SysProcAttr.Cloneflags&unix.CLONE_NEWUSER != 0 && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)):
		e.Op += " in a user namespace"
		e.Hint = "allow user namespaces to ordinary users, or run as root"
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.ENOENT):
		e.Hint = "check that it is a program for this kind of host"
	case errors.Is(err, syscall.EACCES):
		e.Hint = "check that you may execute it"
	}
	return e
}
