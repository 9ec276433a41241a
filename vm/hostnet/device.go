package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Device is a device of this process's. It lasts until Down, or until this
// process is gone.
type Device struct {
	Name string

	spec   Spec
	number int        // its index
	master int        // that of its bridge, or 0
	index  int        // the same, or 0 if the device is not to be removed
	queues []*os.File // one open tap for each queue
	vhost  bool
}

// takeTries is how often Up tries to get a name from which it has just removed
// a leftover, while others may do the same.
const takeTries = 5

// Up makes a device that is ready for use. The error is a [HostError] when
// something is known to be amiss with this host; it matches [ErrTaken] when the
// name belongs to somebody else. After an error nothing is left.
//
// A process that may not make devices gets the use of a tap that was made for
// its user ("ip tuntap add vm0 mode tap user me vnet_hdr"), which Down then
// leaves as it was, or one that a helper makes: see [Spec.Helper].
func Up(ctx context.Context, s Spec) (*Device, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.VHost {
		f, err := openVHost()
		if err != nil {
			return nil, err
		}
		f.Close() // what QEMU gets is opened for it
	}
	for range takeTries {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		d, err := s.make(ctx)
		if err == nil {
			err = d.identify(s)
		}
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, errExists) {
			return nil, err
		}
		if err := s.reclaim(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("make %v: %w again and again", &s, ErrTaken)
}

// identify remembers what the device is, for as long as it is there. One that has
// vanished meanwhile is taken down.
func (d *Device) identify(s Spec) error {
	s.Name = d.Name
	l, err := byName(s.Name)
	if err == nil && l == nil {
		err = fmt.Errorf("make %v: it has vanished", &s)
	}
	if err != nil {
		return errors.Join(err, d.Down())
	}
	d.spec, d.number, d.master = s, l.Attrs().Index, l.Attrs().MasterIndex
	return nil
}

// errExists is what make returns when there is a device of that name.
var errExists = errors.New("it exists")

func (s *Spec) make(ctx context.Context) (*Device, error) {
	if s.kind() == Macvtap {
		return s.makeMacvtap()
	}
	return s.makeTap(ctx)
}

// claim finds a device that was just made, so that d can take it back, and
// returns it with the owner whose mark it is to carry.
func (s *Spec) claim(d *Device) (netlink.Link, owner, error) {
	l, err := byName(s.Name)
	if err != nil {
		return nil, owner{}, err
	}
	if l == nil {
		return nil, owner{}, fmt.Errorf("make %v: it has vanished", s)
	}
	d.index = l.Attrs().Index
	o, err := self(s.Machine)
	return l, o, err
}

// Files opens the device for one run of QEMU: a file for each queue, and as many
// of /dev/vhost-net if the Spec asked for it. The caller closes them. They work
// as long as the device is up, for one QEMU after the other.
func (d *Device) Files() (queues, vhost []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(append(queues, vhost...))
			queues, vhost = nil, nil
		}
	}()
	for _, q := range d.queues {
		if err := attachQueue(q); err != nil {
			return queues, vhost, fmt.Errorf("attach a queue of %s: %w", d.Name, err)
		}
		fd, err := unix.FcntlInt(q.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return queues, vhost, fmt.Errorf("duplicate a queue of %s: %w", d.Name, err)
		}
		queues = append(queues, os.NewFile(uintptr(fd), d.Name))
		if !d.vhost {
			continue
		}
		// One that another QEMU has used stays that one's.
		f, err := openVHost()
		if err != nil {
			return queues, vhost, err
		}
		vhost = append(vhost, f)
	}
	return queues, vhost, nil
}

// Down removes the device, whether or not anybody has it open. It may be called
// more than once.
func (d *Device) Down() error {
	var err error
	if d.index != 0 {
		if err = remove(d.index); err != nil {
			err = &HostError{Op: "remove " + d.Name, Err: err, Hint: "remove it as root: ip link delete " + d.Name}
		}
	}
	closeAll(d.queues)
	d.queues, d.index = nil, 0
	return err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func openVHost() (*os.File, error) {
	const path = "/dev/vhost-net"
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, openError(path, "vhost_net", "leave tap.vhost out", err)
	}
	return f, nil
}
