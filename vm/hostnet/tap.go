package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// tapFlags are what QEMU wants of a queue: frames without the four bytes of
// packet information, but with virtio's own header. IFF_ONE_QUEUE has had no
// effect since Linux 3.8.
func (s *Spec) tapFlags() uint16 {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if s.queues() > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	return flags
}

// makeTap makes the tap. The kernel decides who is first: with IFF_TUN_EXCL a
// name is given once.
func (s *Spec) makeTap(ctx context.Context) (*Device, error) {
	first, err := openQueue(s.Name, s.tapFlags()|unix.IFF_TUN_EXCL)
	switch {
	case errors.Is(err, unix.EBUSY) && !mayMakeDevices():
		return s.borrowTap()
	case errors.Is(err, unix.EBUSY):
		return nil, errExists
	case errors.Is(err, fs.ErrPermission) && s.Helper:
		return s.askHelper(ctx)
	case errors.Is(err, fs.ErrPermission):
		return nil, s.notAllowed(err)
	case err != nil:
		return nil, s.failed("make "+s.String(), err)
	}
	d := &Device{Name: s.Name, queues: []*os.File{first}, vhost: s.VHost}
	if err := s.setUpTap(d); err != nil {
		// The kernel would remove it with its last file.
		return nil, errors.Join(err, d.Down())
	}
	return d, nil
}

// setUpTap makes a new tap what it should be.
func (s *Spec) setUpTap(d *Device) error {
	l, o, err := s.claim(d)
	if err != nil {
		return err
	}
	for len(d.queues) < s.queues() {
		q, err := openQueue(s.Name, s.tapFlags())
		if err != nil {
			return s.failed(fmt.Sprintf("open queue %d of %v", len(d.queues)+1, s), err)
		}
		d.queues = append(d.queues, q)
	}
	fd := int(d.queues[0].Fd())
	steps := []struct {
		op string
		do func() error
	}{
		{"set the alias of", func() error { return netlink.LinkSetAlias(l, o.alias()) }},
		{"set the owner of", func() error { return unix.IoctlSetInt(fd, unix.TUNSETOWNER, s.Owner) }},
		{"set the group of", func() error { return unix.IoctlSetInt(fd, unix.TUNSETGROUP, s.Group) }},
		{"set the address of", func() error {
			if s.Bridge == "" || len(s.MAC) == 0 {
				return nil
			}
			return netlink.LinkSetHardwareAddr(l, hostMAC(s.MAC))
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return s.failed(step.op+" "+s.String(), err)
		}
	}
	if s.Bridge != "" {
		bridge, err := s.findBridge()
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			return s.failed(fmt.Sprintf("attach %v to bridge %s", s, s.Bridge), err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return s.failed(fmt.Sprintf("bring %v up", s), err)
	}
	return nil
}

// borrowTap opens a tap that was made for this process's user.
func (s *Spec) borrowTap() (*Device, error) {
	d := &Device{Name: s.Name, vhost: s.VHost}
	recipe := s.recipe()
	for len(d.queues) < s.queues() {
		q, err := openQueue(s.Name, s.tapFlags())
		if err != nil {
			d.Down()
			he := &HostError{Op: "open " + s.String(), Err: err, Hint: "have root make it: " + recipe}
			switch {
			case errors.Is(err, unix.EBUSY):
				he.Err, he.Hint = fmt.Errorf("%w: another process has it open", ErrTaken), "stop that process, or give the interface another id"
			case errors.Is(err, unix.EINVAL):
				he.Hint = "have root make it for this number of queues: " + recipe
			}
			return nil, he
		}
		d.queues = append(d.queues, q)
	}
	if err := s.checkBorrowed(); err != nil {
		d.Down()
		return nil, err
	}
	return d, nil
}

// checkBorrowed looks for what this process may not put right.
func (s *Spec) checkBorrowed() error {
	l, err := byName(s.Name)
	if err != nil {
		return err
	}
	if l == nil {
		return fmt.Errorf("open %v: it has vanished", s)
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		return &HostError{Op: "use " + s.String(), Err: errors.New("it is down"), Hint: "have root bring it up: ip link set " + s.Name + " up"}
	}
	if s.Bridge == "" {
		return nil
	}
	bridge, err := s.findBridge()
	if err != nil {
		return err
	}
	if l.Attrs().MasterIndex != bridge.Attrs().Index {
		return &HostError{Op: "use " + s.String(), Err: fmt.Errorf("it is not attached to bridge %s", s.Bridge),
			Hint: "have root attach it: ip link set " + s.Name + " master " + s.Bridge}
	}
	return nil
}

// findBridge returns the bridge, which is never mvm's to make.
func (s *Spec) findBridge() (netlink.Link, error) {
	op := fmt.Sprintf("attach %v to bridge %s", s, s.Bridge)
	l, err := byName(s.Bridge)
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		return nil, &HostError{Op: op, Err: fmt.Errorf("no such device: %w", fs.ErrNotExist),
			Hint: fmt.Sprintf("make it: ip link add %s type bridge; ip link set %s up", s.Bridge, s.Bridge)}
	case l.Type() != "bridge":
		return nil, &HostError{Op: op, Err: fmt.Errorf("it is of type %s", l.Type()), Hint: "name a bridge"}
	}
	return l, nil
}

// notAllowed says how root can help.
func (s *Spec) notAllowed(err error) error {
	return &HostError{Op: "make " + s.String(), Err: err, Hint: "run as root, or have root make it: " + s.recipe()}
}

// recipe is how root makes the tap for this process's user.
func (s *Spec) recipe() string {
	multi := ""
	if s.queues() > 1 {
		multi = " multi_queue"
	}
	return fmt.Sprintf("ip tuntap add %s mode tap user %d vnet_hdr%s; ip link set %s up", s.Name, os.Geteuid(), multi, s.Name)
}

// failed wraps the kernel's refusal.
func (s *Spec) failed(op string, err error) error {
	he := (*HostError)(nil)
	if errors.As(err, &he) {
		return err
	}
	return &HostError{Op: op, Err: err, Hint: "look in the kernel's log for the reason"}
}

// openQueue opens a tap. The file is blocking and unknown to Go's poller: QEMU
// sets it as it wants.
func openQueue(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(tunPath, "tun", "use an interface of type user", err)
	}
	if err := setIff(fd, name, flags); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// setIff ties an open file to the device.
func setIff(fd int, name string, flags uint16) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(flags)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
}

// attachQueue puts a queue back to use that a QEMU before has laid aside, as it
// does with those that its guest has no CPU for. The next one relies on having
// them all, and aborts otherwise.
func attachQueue(f *os.File) error {
	r, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_ATTACH_QUEUE)
	err = unix.IoctlIfreq(int(f.Fd()), unix.TUNSETQUEUE, r)
	if errors.Is(err, unix.EINVAL) {
		return nil // it is in use, or the only one
	}
	return err
}

// hostMAC returns the address of the host's end of a tap whose guest has mac.
// It differs in the first byte: fe is the highest that is one device's own and
// locally administered.
func hostMAC(mac net.HardwareAddr) net.HardwareAddr {
	host := slices.Clone(mac)
	host[0] = 0xfe
	if mac[0] == 0xfe {
		host[0] = 0xfa
	}
	return host
}

// mayMakeDevices reports whether the calling thread has CAP_NET_ADMIN. If that
// cannot be found out, the kernel will say so in time.
func mayMakeDevices() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true
	}
	return data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}
