package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/hostnet"
)

// networks are the host's ends of a machine's interfaces. They stay while QEMU
// comes and goes, so that a guest's reboot keeps its addresses.
type networks []hostEnd

type hostEnd struct {
	id     string
	device *hostnet.Device
}

// bringUp makes the host's end of each interface that has one. When one cannot
// be made, none is left.
func (s *supervisor) bringUp(ctx context.Context, m *qemu.Machine) (networks, error) {
	var n networks
	for i := range s.c.Interfaces {
		in := &s.c.Interfaces[i]
		if in.Type == "user" {
			continue
		}
		spec, err := hostnetSpec(s.c.MachineName(), in, &m.NICs[i])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("interfaces[%d]: %w", i, err), n.down())
		}
		device, err := hostnet.Up(ctx, spec)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("interfaces[%d]: %w", i, err), n.down())
		}
		n = append(n, hostEnd{in.ID, device})
		s.note("made %v", &spec)
	}
	return n, nil
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
		Owner: os.Getuid(), Group: os.Getgid(),
	}
	if in.Type == "macvtap" {
		spec.Kind, spec.Link, spec.Mode = hostnet.Macvtap, in.Macvtap.Link, in.MacvtapMode()
	}
	return spec, nil
}

// open adds a descriptor for each queue to the files of one run of QEMU.
func (n networks) open(files map[string]*os.File) error {
	for _, e := range n {
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

// down takes the devices back.
func (n networks) down() error {
	var errs []error
	for _, e := range slices.Backward(n) {
		errs = append(errs, e.device.Down())
	}
	return errors.Join(errs...)
}
