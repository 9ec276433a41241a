package agent

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// openPTY returns both sides of a new pseudo terminal: ours, which does not
// block, and the command's.
func openPTY(size handoff.Size) (ours, theirs *os.File, err error) {
	fd, err := openPTMX()
	if err != nil {
		return nil, nil, err
	}
	peer, err := unlock(fd, size)
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), os.NewFile(uintptr(peer), "terminal"), nil
}

// openPTMX opens the multiplexer. A guest whose init mounted no devpts gets
// one: without it there is no terminal to be had.
func openPTMX() (int, error) {
	open := func() (int, error) {
		return unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	fd, err := open()
	if err == nil {
		return fd, nil
	}
	if merr := os.MkdirAll("/dev/pts", 0o755); merr != nil {
		return -1, err
	}
	if merr := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5"); merr != nil {
		return -1, err
	}
	return open()
}

// unlock sets a terminal's size and opens its other side, by the terminal
// itself (TIOCGPTPEER) and not by a path that may lie in another devpts.
func unlock(fd int, size handoff.Size) (int, error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	if err := setSize(fd, size); err != nil {
		return -1, err
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(peer), nil
}

func setSize(fd int, size handoff.Size) error {
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
}
