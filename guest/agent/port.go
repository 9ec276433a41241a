package agent

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A port is a virtio-serial port: a stream that ends (io.EOF) while no host is
// connected, and goes on when one is.
type port struct {
	*os.File
	raw syscall.RawConn
}

// newPort takes over fd, which must not block, so that the runtime's poller
// waits for it instead of a thread.
func newPort(fd uintptr) *port {
	f := os.NewFile(fd, "agent port")
	raw, err := f.SyscallConn()
	if err != nil {
		panic(err) // only for a nil file
	}
	return &port{f, raw}
}

// Wait returns when a host is connected. The poller is edge-triggered: each
// change of the port wakes it once, and the state is then asked for.
func (p *port) Wait() error {
	return p.raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n == 0 && err == nil || n > 0 && fds[0].Revents&unix.POLLHUP == 0
	})
}

var _ Conn = (*port)(nil)
