package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/state"
)

// monitorFile names the socket of [Config.Socket] among QEMU's files.
const monitorFile = "socket"

// hasSocket reports whether other programs are to have a QMP socket. The one
// that microvm.nix gives every machine by default is no wish for one.
func (c *Config) hasSocket() bool {
	return c.Socket != "" && c.Socket != c.MachineName()+".sock"
}

// socketPath is where the socket is made.
func (c *Config) socketPath(place state.Machine) string {
	if filepath.IsAbs(c.Socket) {
		return c.Socket
	}
	return filepath.Join(place.State, c.Socket)
}

// listenQMP makes the socket of the definition, for its owner alone. It stays
// while QEMU comes and goes; remove takes it back.
func (s *supervisor) listenQMP() (f *os.File, remove func() error, err error) {
	path := s.c.socketPath(s.place)
	fail := func(err error) (*os.File, func() error, error) {
		return nil, nil, &HostError{Op: "socket " + path, Err: cause(err), Hint: "set socket to a path in a directory where this user may make one, or leave it out"}
	}
	// A path through a descriptor is short whatever the directory's length.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if err := removeDeadSocket(short); err != nil {
		return fail(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	f = os.NewFile(uintptr(fd), path)
	// The mode of the socket becomes that of the file, so that there is no
	// moment when others could connect.
	err = unix.Fchmod(fd, 0o600)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		f.Close()
		return fail(err)
	}
	remove = func() error {
		f.Close()
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return f, remove, nil
}

// removeDeadSocket removes a socket that a killed mvm has left. One on which
// somebody answers is theirs, and so is anything that is no socket.
func removeDeadSocket(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else, which is no socket")
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return errors.New("another program answers on it")
	}
	return os.Remove(path)
}

// socketFileTrouble is what is wrong with the last part of a socket's path.
func socketFileTrouble(path string) string {
	if strings.HasSuffix(path, "/") || filepath.Base(path) == ".." || filepath.Base(path) == "." {
		return quoteShort(path) + " names a directory"
	}
	return ""
}
