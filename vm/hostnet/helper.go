package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bridgeHelpers is where distributions have QEMU's helper: NixOS, Debian, Fedora.
var bridgeHelpers = []string{"/run/wrappers/bin/qemu-bridge-helper", "/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"}

// helperLimit is how long the helper may take for a few system calls.
const helperLimit = 20 * time.Second

// askHelper has QEMU's helper make the tap, who may do so for bridges that
// /etc/qemu/bridge.conf allows. It is asked by this process and not by QEMU, whose
// sandbox would have to let it start programs.
func (s *Spec) askHelper(ctx context.Context) (*Device, error) {
	op := "make a tap on bridge " + s.Bridge
	path, err := findHelper()
	if err != nil {
		return nil, &HostError{Op: op, Err: err, Hint: "run as root, or have root make the helper set-uid: chmod u+s " + bridgeHelpers[1]}
	}
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	tap, said, err := runHelper(ctx, path, s.Bridge)
	if err != nil {
		e := &HostError{Op: op, Err: fmt.Errorf("%s: %w", path, err), Hint: "look whether the bridge is there and the helper may be run"}
		if said != "" {
			e.Err = fmt.Errorf("%s: %s", path, said)
		}
		if strings.Contains(said, "acl") {
			e.Hint = fmt.Sprintf("have root allow the bridge: echo allow %s >>/etc/qemu/bridge.conf", s.Bridge)
		}
		return nil, e
	}
	d := &Device{queues: []*os.File{tap}, vhost: s.VHost}
	r, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(int(tap.Fd()), unix.TUNGETIFF, r)
	}
	if err != nil {
		tap.Close()
		return nil, fmt.Errorf("%s: name the tap: %w", op, err)
	}
	d.Name = r.Name() // the helper chooses it
	return d, nil
}

// findHelper finds a helper that gains what it needs.
func findHelper() (string, error) {
	for _, path := range bridgeHelpers {
		fi, err := os.Stat(path)
		if err != nil {
			continue
		}
		if fi.Mode()&fs.ModeSetuid != 0 || os.Geteuid() == 0 {
			return path, nil
		}
		if n, err := unix.Getxattr(path, "security.capability", nil); err == nil && n > 0 {
			return path, nil
		}
		return "", fmt.Errorf("%s: it has no privileges: %w", path, fs.ErrPermission)
	}
	return "", fmt.Errorf("qemu-bridge-helper: %w", fs.ErrNotExist)
}

// runHelper returns the tap that the helper sends, or what it said instead.
func runHelper(ctx context.Context, path, bridge string) (tap *os.File, said string, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, "", os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "bridge helper"), os.NewFile(uintptr(pair[1]), "bridge helper")
	defer ours.Close()
	cmd := exec.CommandContext(ctx, path, "--use-vnet", "--fd=3", "--br="+bridge)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr, cmd.ExtraFiles = "/", &stderr, []*os.File{theirs}
	err = cmd.Run()
	theirs.Close()
	said = strings.TrimSpace(stderr.String())
	if err != nil {
		return nil, said, err
	}
	tap, err = receiveFile(ours)
	return tap, said, err
}

// receiveFile returns the descriptor that waits in a socket whose other end is
// closed.
func receiveFile(socket *os.File) (*os.File, error) {
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("it sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("it sent no descriptor")
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "tap"), nil
}
