package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/agent"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// An agentLink is process 1's end of the pipe to the agent that it started.
// It closes when init is executed, and that is how the agent knows.
type agentLink struct {
	pid  int
	pipe *os.File
}

// startAgent runs this same program again as the agent: its file may be gone
// from the initramfs by now, and /proc still has it.
//
// The agent gets /dev/null for standard input and output, so that it keeps
// neither console nor store busy, the port, the read end of a pipe, and the
// socket for programs in the guest.
func startAgent(port int) (*agentLink, error) {
	const op = "start the agent"
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, failure(op, err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, failure(op, err)
	}
	defer r.Close()
	socket, err := agent.Listen(handoff.RunDir)
	if err != nil {
		w.Close()
		return nil, failure(op, err)
	}
	defer unix.Close(socket)
	// Not os.StartProcess: it first starts a child of its own, once, to see
	// whether pidfds work.
	pid, err := syscall.ForkExec("/proc/self/exe", []string{agent.ProcessName}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(port), r.Fd(), uintptr(socket)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		w.Close()
		return nil, failure(op, err)
	}
	if err := agent.LayPoweroff(handoff.RunDir, pid); err != nil {
		w.Close()
		return nil, failure(op, err)
	}
	return &agentLink{pid: pid, pipe: w}, nil
}

// send passes a message down the pipe.
func (l *agentLink) send(m agent.Inheritance) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = l.pipe.Write(append(b, '\n'))
	return err
}

// become replaces this process by the guest's init.
func (g *Guest) become(orders handoff.Boot) error {
	argv := orders.Init
	op := "execute " + argv[0]
	if err := g.agent.send(g.inheritance(orders)); err != nil {
		return &Failure{Op: op, Err: fmt.Errorf("tell the agent: %w", err)}
	}
	takeConsole()
	// From now on Ctrl-Alt-Del is a SIGINT for init, as every init wants it. The
	// kernel's own way is to reset at once, with all file systems mounted.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	err := syscall.Exec(argv[0], argv, os.Environ())
	f := &Failure{Op: op, Err: err}
	switch st, serr := os.Stat(argv[0]); {
	case serr == nil && st.IsDir():
		f.Err = unix.EISDIR
	case serr == nil && errors.Is(err, unix.ENOENT):
		f.Detail = "the file is there; the interpreter or the dynamic linker that it names is not"
	}
	return f
}

// takeConsole opens the console anew. The one that the kernel opened for us is
// a file of the initramfs, without a path in the new root. A guest without a
// console keeps what it has.
func takeConsole() {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	for std := range 3 {
		_ = unix.Dup3(fd, std, 0)
	}
	if fd > 2 {
		unix.Close(fd)
	}
}
