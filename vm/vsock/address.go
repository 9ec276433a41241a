package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is what a guest's end of vsock is made from.
const Device = "/dev/vhost-vsock"

// setGuestCID is VHOST_VSOCK_SET_GUEST_CID, _IOW(0xAF, 0x60, __u64), of
// linux/vhost.h.
const setGuestCID = 0x4008AF60

// tries is how many numbers are tried before giving up. Of two billion, one is
// taken only by a machine of the same name or by much bad luck.
const tries = 16

// A HostError is something that this host lacks or does not allow. It says what
// was attempted, why that failed, and what the reader can do about it.
type HostError struct {
	Op   string // what was tried: "open /dev/vhost-vsock"
	Err  error  // why it failed; the kernel's own error is within
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// ErrTaken is matched by the error of [Claim] when another machine has the number.
var ErrTaken = errors.New("another machine of this host has it")

// An Address is a context id that is held for one machine.
type Address struct {
	CID  uint32
	hold *os.File
}

// Claim takes a context id for the machine of that name. Zero picks one from the
// name, so that a machine has the same at every start unless somebody has taken
// it. The address must be released. The error is a [HostError].
func Claim(name string, cid uint32) (*Address, error) {
	if cid != 0 {
		return claim(cid)
	}
	for try := range tries {
		a, err := claim(Candidate(name, try))
		if !errors.Is(err, ErrTaken) {
			return a, err
		}
	}
	return nil, &HostError{Op: "pick a context id for vsock", Err: fmt.Errorf("all of %d are taken", tries),
		Hint: "set vsock.cid to a number that no other machine has"}
}

// Candidate is the number that [Claim] picks for the machine of that name if those
// of all earlier tries, counted from 0, are taken. It is above 65535, where nobody
// picks by hand, and positive for programs that read it as a signed number.
func Candidate(name string, try int) uint32 {
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendInt([]byte("mvm:"+name+"/"), int64(try), 10)) // it never fails
	sum := h.Sum(nil)
	const low, high = 1 << 16, 1 << 31
	return low + uint32(binary.BigEndian.Uint64(sum)%(high-low))
}

// claim takes this very number.
func claim(cid uint32) (*Address, error) {
	hold, err := hold(cid)
	if err != nil {
		return nil, err
	}
	a := &Address{CID: cid, hold: hold}
	f, err := a.Open()
	if err != nil {
		hold.Close()
		return nil, err
	}
	f.Close()
	return a, nil
}

// Open returns the device as the end of a guest with the address, for one run of
// QEMU. The kernel lets nobody else have the address until it is closed.
func (a *Address) Open() (*os.File, error) {
	f, err := os.OpenFile(Device, os.O_RDWR, 0)
	if err != nil {
		return nil, openError(err)
	}
	cid := uint64(a.CID)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), setGuestCID, uintptr(unsafe.Pointer(&cid))); errno != 0 {
		f.Close()
		if errno == unix.EADDRINUSE {
			return nil, taken(a.CID, "a guest that mvm does not run")
		}
		return nil, &HostError{Op: claiming(a.CID), Err: errno, Hint: `set vsock.cid = "auto"`}
	}
	return f, nil
}

// Release gives the address up.
func (a *Address) Release() error { return a.hold.Close() }

// hold takes a lock on the number that the kernel drops with this process: a
// socket of a name that no file has, which is one for all users of the host. It
// is held between two runs of QEMU, when the kernel's own is not.
func hold(cid uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	name := &unix.SockaddrUnix{Name: "@mvm/vsock/" + strconv.FormatUint(uint64(cid), 10)}
	err = unix.Bind(fd, name)
	if err == nil {
		err = unix.Listen(fd, 0) // so that a connection shows who it is
	}
	if err == nil {
		return os.NewFile(uintptr(fd), name.Name), nil
	}
	unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, taken(cid, owner(name))
	}
	return nil, os.NewSyscallError("bind", err)
}

// owner says who holds a number.
func owner(name *unix.SockaddrUnix) string {
	const nobody = "another mvm"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nobody
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, name); err != nil {
		return nobody
	}
	who, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nobody
	}
	return fmt.Sprintf("process %d", who.Pid)
}

func claiming(cid uint32) string { return fmt.Sprintf("claim the context id %d for vsock", cid) }

func taken(cid uint32, who string) error {
	return &HostError{Op: claiming(cid), Err: fmt.Errorf("%w: %s", ErrTaken, who),
		Hint: `stop the other machine, or set vsock.cid to another number or "auto"`}
}

func openError(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err // Op names the file already
	}
	e := &HostError{Op: "open " + Device, Err: err, Hint: "leave vsock.cid out: the guest is then without vsock"}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Hint = "load the vhost_vsock module (modprobe vhost_vsock), or pass the device into this container"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "join the group that may open it, which is kvm where udev's rules are systemd's"
	}
	return e
}
