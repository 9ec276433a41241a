package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// socketName is the agent's socket in handoff.RunDir. A client sends one byte,
// the guest's exit status, and gets one byte back: 1 if the host has noted it.
// Package net would make the binary a quarter larger, for one connection.
const socketName = "agent.sock"

// Limits of the conversation with a helper.
const (
	ackLimit    = 5 * time.Second  // for the host; it answers at once or never
	helperLimit = 10 * time.Second // for the agent, which waits for the host
)

// Listen opens the agent's socket in dir, for root only. Process 1 does so before
// there is an agent, so that a program that init runs at once finds it.
func Listen(dir string) (int, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the agent's socket: %w", err)
	}
	path := filepath.Join(dir, socketName)
	_ = os.Remove(path)
	old := unix.Umask(0o177)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	unix.Umask(old)
	if err == nil {
		err = unix.Listen(fd, 8)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// LayPoweroff puts the program that reports an exit status into dir: the
// agent's own, whose file exists no more.
func LayPoweroff(dir string, agentPID int) error {
	program := filepath.Join(dir, filepath.Base(handoff.PoweroffPath))
	_ = os.Remove(program)
	return os.Symlink(fmt.Sprintf("/proc/%d/exe", agentPID), program)
}

// answer serves one helper after the other. It ends with the process.
func (a *Agent) answer(listener int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			a.answerOne(fd)
			unix.Close(fd)
		case unix.EINTR, unix.ECONNABORTED:
		default:
			a.log("accept: %v", err)
			return
		}
	}
}

func (a *Agent) answerOne(fd int) {
	limit := unix.NsecToTimeval(int64(time.Second))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	var status [1]byte
	if n, err := unix.Read(fd, status[:]); err != nil || n != 1 {
		return
	}
	var noted [1]byte
	if a.exit(int(status[0]), ackLimit) {
		noted[0] = 1
	} else {
		a.log("the host has not noted the exit status %d", status[0])
	}
	_, _ = unix.SendmsgN(fd, noted[:], nil, nil, unix.MSG_NOSIGNAL)
	go a.end(false) // ends with the guest
}

// ParseStatus reads the arguments of the poweroff program: nothing, which
// means 0, or an exit status.
func ParseStatus(args []string) (int, error) {
	switch len(args) {
	case 0:
		return 0, nil
	case 1:
		n, err := strconv.ParseUint(args[0], 10, 8)
		if err != nil {
			return 0, fmt.Errorf("exit status %q: want a number from 0 to 255", args[0])
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("want one exit status, got %d arguments", len(args))
}

// Poweroff tells the host, through the agent, that the guest's exit status is
// status. It returns true once the host has noted it, false if the host did
// not say so; the agent powers the guest off in both cases. An error means
// that there is no agent to do either.
func Poweroff(status int) (noted bool, err error) {
	return askPoweroff(filepath.Join(handoff.RunDir, socketName), status)
}

func askPoweroff(socket string, status int) (noted bool, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(helperLimit))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return false, fmt.Errorf("reach mvm's agent: %w", err)
	}
	if _, err := unix.Write(fd, []byte{byte(status)}); err != nil {
		return false, fmt.Errorf("tell mvm's agent: %w", err)
	}
	var answer [1]byte
	if err := retry(func() error { _, err := unix.Read(fd, answer[:]); return err }); err != nil {
		return false, fmt.Errorf("hear from mvm's agent: %w", err)
	}
	return answer[0] == 1, nil
}
