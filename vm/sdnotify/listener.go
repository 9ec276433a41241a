package sdnotify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// limit is the size of a message, at most: NOTIFY_BUFFER_MAX of systemd.
	limit = 4096

	// patience is how long one message may take. The next waits for it.
	patience = 5 * time.Second
)

// A Listener hears one guest.
type Listener struct {
	port     uint32
	cid      uint32
	f        *os.File
	messages chan Message
	closed   chan struct{}
	once     sync.Once
	done     chan struct{} // closed when serve has ended
}

// Listen listens for the guest with that context id. Close must be called.
func Listen(cid uint32) (*Listener, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "vsock")
	port, err := bind(fd)
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &Listener{
		port: port, cid: cid, f: f,
		messages: make(chan Message), closed: make(chan struct{}), done: make(chan struct{}),
	}
	go l.serve()
	return l, nil
}

// bind has the socket listen, and returns its port.
func bind(fd int) (uint32, error) {
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: unix.VMADDR_PORT_ANY}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return 0, os.NewSyscallError("listen", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	vm, ok := sa.(*unix.SockaddrVM)
	if !ok {
		return 0, fmt.Errorf("getsockname: an address of type %T", sa)
	}
	return vm.Port, nil
}

// Credential is the name of what tells a guest where to speak, and Address the
// value.
const Credential = "vmm.notify_socket"

// Address is where the guest is to send its messages.
func (l *Listener) Address() string {
	return fmt.Sprintf("vsock-stream:%d:%d", unix.VMADDR_CID_HOST, l.port)
}

// Messages is what the guest says. It is closed after Close.
func (l *Listener) Messages() <-chan Message { return l.messages }

// Close ends the listening.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	err := l.f.Close()
	<-l.done
	return err
}

// serve hears one message after the other, so that they stay in order. Nobody but
// the guest can hold it up, and the guest only itself.
func (l *Listener) serve() {
	defer close(l.done)
	defer close(l.messages)
	for {
		conn, from, err := l.accept()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			// Of one connection, or for lack of descriptors.
			select {
			case <-l.closed:
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if from == l.cid {
			l.hear(conn)
		}
		conn.Close()
	}
}

// accept waits for a connection, and returns the context id from which it comes.
func (l *Listener) accept() (conn *os.File, from uint32, err error) {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	var (
		fd   int
		sa   unix.Sockaddr
		cerr error
	)
	err = raw.Read(func(listener uintptr) bool {
		fd, sa, cerr = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return !errors.Is(cerr, unix.EAGAIN)
	})
	if err = errors.Join(err, cerr); err != nil {
		return nil, 0, err
	}
	if vm, ok := sa.(*unix.SockaddrVM); ok {
		from = vm.CID
	}
	return os.NewFile(uintptr(fd), "vsock"), from, nil
}

// hear reads a message and passes it on.
func (l *Listener) hear(conn *os.File) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return
	}
	b, err := io.ReadAll(io.LimitReader(conn, limit))
	if err != nil && len(b) == 0 {
		return
	}
	select {
	case l.messages <- Parse(b):
	case <-l.closed:
	}
}
