package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/hostnet"
)

// networks are the host's ends of a machine's interfaces. They stay while QEMU
// comes and goes, so that a guest's reboot keeps its addresses.
type networks struct {
	ends    []hostEnd
	unwatch func() // nil if nobody watches
}

type hostEnd struct {
	id     string // the interface's
	netdev string // QEMU's name for it
	device *hostnet.Device
}

// bringUp makes the host's end of each interface that has one. When one cannot
// be made, none is left. What an earlier run left behind goes first: it may have
// had interfaces of other names.
func (s *supervisor) bringUp(ctx context.Context, m *qemu.Machine) (*networks, error) {
	gone, err := hostnet.Sweep(s.c.MachineName())
	if err != nil && !errors.Is(err, fs.ErrPermission) { // an ordinary user has left none
		s.note("%v", err)
	}
	if len(gone) > 0 {
		s.note("removed %s, which a run that was killed left", strings.Join(gone, ", "))
	}
	n := new(networks)
	for i := range s.c.Interfaces {
		in := &s.c.Interfaces[i]
		if m.NICs[i].Tap == nil {
			continue
		}
		device, err := s.bringUpOne(ctx, in, &m.NICs[i])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("interfaces[%d]: %w", i, err), n.down())
		}
		n.ends = append(n.ends, hostEnd{in.ID, qemu.NetdevID(i), device})
	}
	s.watchNetworks(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nets = n
	return n, nil
}

func (s *supervisor) bringUpOne(ctx context.Context, in *Interface, nic *qemu.NIC) (*hostnet.Device, error) {
	spec, err := hostnetSpec(s.c.MachineName(), in, nic)
	if err != nil {
		return nil, err
	}
	device, err := hostnet.Up(ctx, spec)
	if err != nil {
		return nil, err
	}
	s.note("made %v", &spec)
	return device, nil
}

// watchNetworks has what befalls the devices said. A machine lives without it.
func (s *supervisor) watchNetworks(n *networks) {
	if len(n.ends) == 0 {
		return
	}
	var devices []*hostnet.Device
	for _, e := range n.ends {
		devices = append(devices, e.device)
	}
	var err error
	n.unwatch, err = hostnet.Watch(devices, func(i hostnet.Incident) {
		s.note("%s", i.Text)
		if i.Gone {
			s.unplug(n.netdev(i.Device))
		}
	})
	if err != nil {
		s.note("nobody will say if a network fails: %v", err)
	}
}

// unplugLimit is how long QEMU may take to let go of a device: as long as it may
// take to answer anything.
const unplugLimit = 5 * time.Second

// unplug has QEMU let go of a device that is gone, which it would otherwise try to
// read for ever, with all the time that a processor has. The guest's card has no
// carrier from then on.
func (s *supervisor) unplug(netdev string) {
	s.mu.Lock()
	q := s.qmp
	s.mu.Unlock()
	if q == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), unplugLimit)
	defer cancel()
	if err := q.Do(ctx, "netdev_del", map[string]string{"id": netdev}, nil); err != nil {
		s.note("QEMU keeps reading a device that is gone: %v", err)
	}
}

// netdev is QEMU's name for the interface with a device, or "".
func (n *networks) netdev(d *hostnet.Device) string {
	for _, e := range n.ends {
		if e.device == d {
			return e.netdev
		}
	}
	return ""
}

// hostnetSpec is an interface, as it was planned, in the words of package
// hostnet.
func hostnetSpec(machine string, in *Interface, nic *qemu.NIC) (hostnet.Spec, error) {
	mac, err := net.ParseMAC(nic.MAC)
	if err != nil {
		return hostnet.Spec{}, err
	}
	spec := hostnet.Spec{
		Name: in.ID, Machine: machine, MAC: mac, Queues: len(nic.Tap.Files),
		VHost: len(nic.Tap.VhostFiles) > 0, Bridge: in.Bridge,
		Owner: os.Getuid(), Group: os.Getgid(), Helper: in.Type == "bridge",
	}
	if in.Type == "macvtap" {
		spec.Kind, spec.Link, spec.Mode = hostnet.Macvtap, in.Macvtap.Link, in.MacvtapMode()
	}
	return spec, nil
}

// open adds a descriptor for each queue to the files of one run of QEMU.
func (n *networks) open(files map[string]*os.File) error {
	for _, e := range n.ends {
		queues, vhost, err := e.device.Files()
		if err != nil {
			return err
		}
		for q, f := range queues {
			files[tapFile(e.id, q)] = f
		}
		for q, f := range vhost {
			files[vhostFile(e.id, q)] = f
		}
	}
	return nil
}

// usage is what has passed through the devices. Those that are gone are left out.
func (n *networks) usage() []control.Network {
	if n == nil {
		return nil
	}
	var list []control.Network
	for _, e := range n.ends {
		c, err := e.device.Counters()
		if err != nil {
			continue
		}
		list = append(list, control.Network{
			Interface:     e.id,
			ReceivedBytes: c.ReceivedBytes, SentBytes: c.SentBytes,
			ReceivedPackets: c.ReceivedPackets, SentPackets: c.SentPackets,
			ReceivedDropped: c.ReceivedDropped, SentDropped: c.SentDropped,
		})
	}
	return list
}

// down takes the devices back.
func (n *networks) down() error {
	if n.unwatch != nil {
		n.unwatch()
		n.unwatch = nil
	}
	var errs []error
	for _, e := range slices.Backward(n.ends) {
		errs = append(errs, e.device.Down())
	}
	return errors.Join(errs...)
}
