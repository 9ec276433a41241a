package agent

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// A command is a program running for the host, the leader of a session and of
// a process group of its own.
type command struct {
	stdin  *input
	window *window

	in      *os.File // what its standard input is written to
	tty     *os.File // the terminal's other side, or nil; then in is the same
	outputs []output
	tidies  bool // it takes the end of its streams for the end, and tidies up

	mu   sync.Mutex
	pid  int  // of the process, and of its group
	gone bool // the pid may be somebody else's
}

// An output is one stream from a command to the host.
type output struct {
	kind handoff.Kind
	*os.File
}

// A send passes a frame's content to the host.
type send func(handoff.Kind, []byte) error

// past is a deadline that is over, to wake whoever reads or writes.
var past = time.Unix(1, 0)

// run moves data until the command has ended, and returns its exit code. What
// the command wrote before it ended is sent; what programs that it leaves
// behind write later is not waited for.
func (c *command) run(send send) int {
	var pumps, feeder sync.WaitGroup
	feeder.Go(func() {
		c.stdin.pump(c.in, func(n int) { _ = send(handoff.KindCredit, handoff.Credit(0, n).Payload) })
		c.endInput()
	})
	for _, out := range c.outputs {
		pumps.Go(func() { c.pump(out, send) })
	}
	status := c.wait()
	for _, out := range c.outputs {
		_ = out.SetReadDeadline(past)
	}
	pumps.Wait()
	c.stdin.close()
	_ = c.in.SetWriteDeadline(past)
	feeder.Wait()
	c.in.Close()
	for _, out := range c.outputs {
		out.Close() // the terminal a second time; that is an error nobody needs
	}
	return status
}

// pump sends what comes out of the command, as far as the host has room.
func (c *command) pump(out output, send send) {
	buf := make([]byte, handoff.MaxData)
	for {
		room := c.window.take(len(buf))
		if room == 0 {
			return // abandoned
		}
		n, err := c.read(out.File, buf[:room])
		c.window.use(room, n)
		if n > 0 && send(out.kind, buf[:n]) != nil {
			c.abandon() // the host is gone
			return
		}
		if err != nil {
			_ = send(out.kind, nil)
			return
		}
	}
}

// read reads what there is, waiting for it as long as the command runs. It
// returns an error at the end of the output, and when there is no more of it
// and the command is over.
func (c *command) read(f *os.File, buf []byte) (int, error) {
	n, err := f.Read(buf)
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// The deadline is run's sign that the command has ended. What it left in
	// the pipe is read without waiting, past the deadline and the poller.
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = retry(func() error { n, err = unix.Read(int(fd), buf); return err })
	}); cerr != nil {
		return 0, cerr
	}
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, os.ErrClosed
	}
	return n, nil
}

// endInput tells the command that there is no more input: by closing a pipe,
// and on a terminal by typing Ctrl-D.
func (c *command) endInput() {
	if c.tty != nil {
		_, _ = c.tty.Write([]byte{4})
		return
	}
	c.in.Close()
}

// wait waits for the command and returns its exit code, or 128 plus the signal
// that ended it.
func (c *command) wait() int {
	// First without reaping, so that signal never hits a pid that has passed
	// to another process.
	_ = retry(func() error {
		return unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	var ws unix.WaitStatus
	if err := retry(func() error { _, err := unix.Wait4(c.pid, &ws, 0, nil); return err }); err != nil {
		return 255
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// signal sends a signal to the command's process group, if it is still there.
func (c *command) signal(number int) {
	if number <= 0 || number > 64 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		_ = unix.Kill(-c.pid, syscall.Signal(number))
	}
}

// tidyLimit is how long a command that tidies up may take.
const tidyLimit = 5 * time.Second

// abandon kills the command's process group and forgets what it had to say.
func (c *command) abandon() {
	if c.tidies {
		time.AfterFunc(tidyLimit, func() { c.signal(int(unix.SIGKILL)) }) // nobody, once it has ended
	} else {
		c.signal(int(unix.SIGKILL))
	}
	c.window.close()
	c.stdin.close()
	for _, out := range c.outputs {
		_ = out.SetReadDeadline(past)
	}
	_ = c.in.SetWriteDeadline(past)
}

// resize changes the terminal's size; the kernel tells the command by SIGWINCH.
func (c *command) resize(size handoff.Size) {
	if c.tty == nil {
		return
	}
	if raw, err := c.tty.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = setSize(int(fd), size) })
	}
}

// retry calls a system call again while a signal interrupts it.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
