package agent

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// LeaderName is the argv[0] of the process that leads a terminal's session.
//
// When a session's leader exits, the kernel hangs up its terminal and throws
// away what the terminal has not passed on yet (tty_ldisc_hangup in
// drivers/tty/tty_ldisc.c). On a guest with one CPU that is all that a short
// command has written. So the leader is a process of ours, which stays until
// the agent has read everything.
const LeaderName = "@mvm-terminal"

// leaderFD is the leader's end of a socket pair. The leader sends numbers, an
// int32 each, big endian: the pid of the process it started, or the error
// number with the sign turned; 0 when that process has ended; and once the
// agent has answered that with a byte, its wait status. It leaves when its
// peer closes.
//
// The answer is there so that the process is not reaped while the agent may
// still signal it: its pid could be somebody else's by then.
const leaderFD = 3

// A leader is the agent's view of it.
type leader struct {
	pid     int
	control *os.File
}

// startLeader starts a leader on a terminal and returns it with the pid of the
// command that it started.
func startLeader(path string, argv, env []string, dir string, terminal uintptr) (*leader, int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(pair[1])
	l := &leader{control: os.NewFile(uintptr(pair[0]), "terminal's session")}
	l.pid, err = syscall.ForkExec("/proc/self/exe", append([]string{LeaderName, path}, argv...), &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{terminal, terminal, terminal, uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		l.control.Close()
		return nil, 0, err
	}
	pid, err := l.read()
	if err == nil && pid < 0 {
		err = syscall.Errno(-pid)
	}
	if err != nil {
		l.release()
		return nil, 0, err
	}
	return l, pid, nil
}

func (l *leader) read() (int, error) {
	var b [4]byte
	if _, err := io.ReadFull(l.control, b[:]); err != nil {
		return 0, fmt.Errorf("the terminal's session ended: %w", err)
	}
	return int(int32(binary.BigEndian.Uint32(b[:]))), nil
}

// ended returns once the command has ended.
func (l *leader) ended() error {
	_, err := l.read()
	return err
}

// status has the command reaped, and returns how it ended.
func (l *leader) status() (unix.WaitStatus, error) {
	if _, err := l.control.Write([]byte{0}); err != nil {
		return 0, err
	}
	n, err := l.read()
	return unix.WaitStatus(n), err
}

// release lets the leader go, and waits for it.
func (l *leader) release() {
	l.control.Close()
	_ = retry(func() error { _, err := unix.Wait4(l.pid, nil, 0, nil); return err })
}

// Lead is the leader's process: args are the program's path and its argv.
func Lead(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s is started by the agent", LeaderName)
	}
	outlive()
	agent := os.NewFile(leaderFD, "agent")
	unix.CloseOnExec(leaderFD)
	tell := func(n int) error {
		_, err := agent.Write(binary.BigEndian.AppendUint32(nil, uint32(int32(n))))
		return err
	}
	pid, err := syscall.ForkExec(args[0], args[1:], &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0},
	})
	if err != nil {
		errno, ok := err.(syscall.Errno)
		if !ok {
			errno = unix.EIO
		}
		return tell(-int(errno))
	}
	if err := tell(pid); err != nil {
		return err
	}
	awaitExit(pid)
	if err := tell(0); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(agent, answer[:]); err != nil {
		return err
	}
	if err := tell(int(reap(pid))); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, agent) // until the agent has read the terminal
	return nil
}

// awaitExit waits for a child to end and leaves it unreaped.
func awaitExit(pid int) {
	_ = retry(func() error {
		return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
}

// reap returns how a child that has ended did so.
func reap(pid int) unix.WaitStatus {
	var ws unix.WaitStatus
	if err := retry(func() error { _, err := unix.Wait4(pid, &ws, 0, nil); return err }); err != nil {
		return 255 << 8 // exit code 255: somebody else has reaped it
	}
	return ws
}
