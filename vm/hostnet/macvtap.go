package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// makeMacvtap makes the macvtap. The kernel refuses a name that exists.
func (s *Spec) makeMacvtap() (*Device, error) {
	op := fmt.Sprintf("make %v on %s", s, s.Link)
	link, err := byName(s.Link)
	if err != nil {
		return nil, err
	}
	if link == nil {
		return nil, &HostError{Op: op, Err: fmt.Errorf("no such device: %w", fs.ErrNotExist), Hint: "name one of this host's cards by macvtap.link"}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = s.Name, link.Attrs().Index, s.MAC
	switch err := netlink.LinkAdd(&netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: modes[s.Mode]}}); {
	case errors.Is(err, unix.EEXIST):
		return nil, errExists
	case err != nil:
		return nil, macvtapError(op, err)
	}
	// Between this and the alias the device is nobody's: a process that is
	// killed here leaves one that its successor will not remove.
	d := &Device{Name: s.Name, vhost: s.VHost}
	if err := s.setUpMacvtap(d); err != nil {
		return nil, errors.Join(err, d.Down())
	}
	return d, nil
}

// setUpMacvtap makes a new macvtap what it should be.
func (s *Spec) setUpMacvtap(d *Device) error {
	l, o, err := s.claim(d)
	if err != nil {
		return err
	}
	steps := []struct {
		op string
		do func() error
	}{
		{"set the alias of", func() error { return netlink.LinkSetAlias(l, o.alias()) }},
		// The guest's groups are not known here, and IPv6 does not work
		// without them.
		{"let all groups through to", func() error { return netlink.LinkSetAllmulticastOn(l) }},
		{"keep the host's IPv6 off", func() error { return quiet(s.Name) }},
		{"bring up", func() error { return netlink.LinkSetUp(l) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return macvtapError(step.op+" "+s.String(), err)
		}
	}
	for len(d.queues) < s.queues() {
		q, err := s.openMacvtap(d.index)
		if err != nil {
			return err
		}
		d.queues = append(d.queues, q)
	}
	return nil
}

// openMacvtap opens a queue of the macvtap with that index.
func (s *Spec) openMacvtap(index int) (*os.File, error) {
	path := "/dev/tap" + strconv.Itoa(index)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(path, "macvtap", "mount the kernel's devtmpfs on /dev", err)
	}
	f := os.NewFile(uintptr(fd), s.Name)
	if err := setIff(fd, s.Name, s.tapFlags()); err != nil {
		f.Close()
		return nil, macvtapError(fmt.Sprintf("open queue %s of %v", path, s), err)
	}
	// Indices are a namespace's own, but /dev is everybody's.
	r, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, r)
	}
	if err == nil && r.Name() != s.Name {
		err = fmt.Errorf("it is %s's, of another network namespace", r.Name())
	}
	if err != nil {
		f.Close()
		return nil, macvtapError("open "+path, err)
	}
	return f, nil
}

// macvtapError adds what is known about why the kernel refuses.
func macvtapError(op string, err error) error {
	e := &HostError{Op: op, Err: err, Hint: "look in the kernel's log for the reason"}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "run as root"
	case errors.Is(err, unix.EOPNOTSUPP):
		e.Hint = "load the macvtap module"
	case errors.Is(err, unix.EADDRINUSE):
		e.Hint = "give the interface a mac of its own: another device on the link has it"
	case errors.Is(err, unix.EBUSY):
		e.Hint = "choose another link, or another macvtap.mode: the link is a bridge's port or passed through"
	}
	return e
}
