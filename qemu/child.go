package qemu

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lingering is how long after QEMU's end its pipes may stay open. They close
// with QEMU unless it has left a program behind that holds them, which is
// then not waited for.
const lingering = time.Second

// A child is a process that cannot outlive this one, with its own process
// group, so that Ctrl-C on the terminal does not reach it.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has been reaped
}

// startChild starts cmd. Its files are the caller's to close afterwards. If
// prepare is not nil it runs first, on a thread from which the program inherits
// whatever prepare changes, and on which nothing else will ever run.
func startChild(cmd *exec.Cmd, prepare func() error) (*child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = lingering
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go c.run(prepare, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// run starts the program and ends when it has been reaped. The kernel sends the
// parent-death signal when the thread ends that made the child
// (go.dev/issue/27505), so this thread lives as long as the child does. It is
// never unlocked, and so ends with this goroutine.
func (c *child) run(prepare func() error, started chan<- error) {
	runtime.LockOSThread()
	if prepare != nil && unix.Gettid() == unix.Getpid() {
		// The main thread stands for the whole process in /proc and cannot
		// be ended: leave it alone, and keep it so that the next goroutine
		// cannot be on it, either.
		over := make(chan struct{})
		go func() {
			defer close(over)
			c.run(prepare, started)
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
	err := c.cmd.Start()
	started <- err
	if err == nil {
		// The state has all there is to know; an error of Wait says the same,
		// or that a pipe was held open.
		_ = c.cmd.Wait()
		close(c.done)
	}
}

// kill ends the child and waits for it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it fails only if the child has ended
	<-c.done
}

// socketPair returns a connection and the file that is its other end.
func socketPair(name string) (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(fds[0]), name)
	theirs := os.NewFile(uintptr(fds[1]), name)
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// inherited returns the files for QEMU after those that Start makes, in the
// order of names.
func inherited(names []string, files map[string]*os.File) ([]*os.File, error) {
	var list []*os.File
	for _, n := range names {
		f := files[n]
		if f == nil {
			return nil, fmt.Errorf("the machine wants a file %q, which was not given", n)
		}
		list = append(list, f)
	}
	for n := range files {
		if !slices.Contains(names, n) {
			return nil, fmt.Errorf("a file %q was given, which the machine does not want", n)
		}
	}
	return list, nil
}
