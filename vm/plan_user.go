package vm

import (
	"errors"
	"fmt"
	"net"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
)

// userNIC gives a card the back-end of a network of type "user".
func (c *Config) userNIC(nic *qemu.NIC, in *Interface, host Host) error {
	forwards, err := c.forwards()
	if err != nil {
		return err
	}
	if len(forwards) > 0 {
		nic.Why += ", forwardPorts"
	}
	backend, err := in.backend(forwards, host)
	if err != nil {
		return err
	}
	if backend == "passt" {
		nic.Stream, nic.MTU = &qemu.StreamNet{File: passtFile(in.ID)}, passtMTU
		return nil
	}
	nic.User = &qemu.UserNet{Restrict: in.User.Restrict}
	for _, f := range forwards {
		if f.fromGuest {
			continue // QEMU's network does it unasked, or not at all
		}
		nic.User.HostForwards = append(nic.User.HostForwards, qemu.HostForward{
			UDP:      f.udp,
			HostAddr: f.host.Addr(), HostPort: f.host.Port(),
			GuestAddr: f.guest.Addr(), GuestPort: f.guest.Port(),
		})
	}
	return nil
}

// passtMTU is what passt says by DHCP, which many guests do not heed. Every packet
// costs passt and QEMU a round trip, and with 1500 bytes of it these are nearly all
// that there is.
const passtMTU = 65520

// forwards are all of the definition's. The rules allow one interface of type
// "user" only when there are any.
func (c *Config) forwards() ([]forward, error) {
	var list []forward
	for n := range c.ForwardPorts {
		f, err := c.ForwardPorts[n].resolve()
		if err != nil {
			return nil, fmt.Errorf("forwardPorts[%d].%w", n, err)
		}
		list = append(list, f)
	}
	return list, nil
}

// backend is "passt" or "slirp". The rules let forwards need one of them only.
func (i *Interface) backend(forwards []forward, host Host) (string, error) {
	if b := i.UserBackend(); b != "auto" {
		return b, nil
	}
	if i.User.Restrict {
		return "slirp", nil
	}
	for n, f := range forwards {
		switch needs, why := f.needs(); {
		case needs == "slirp":
			return needs, nil
		case needs == "passt" && !host.Passt:
			err := errors.New(why + ", and passt does not work here")
			if host.NoPasst != "" {
				err = fmt.Errorf("%w: %s", err, host.NoPasst)
			}
			return "", &HostError{Op: fmt.Sprintf("carry out forwardPorts[%d]", n), Err: err, Hint: "install passt, or name it by passt.package"}
		case needs == "passt":
			return needs, nil
		}
	}
	if host.Passt {
		return "passt", nil
	}
	return "slirp", nil
}

// leavesBackendOpen reports whether it depends on the host what makes a network.
func (c *Config) leavesBackendOpen() bool {
	for i := range c.Interfaces {
		if in := &c.Interfaces[i]; in.Type == "user" && in.UserBackend() == "auto" && !in.User.Restrict {
			return true
		}
	}
	return false
}

// passtFile names the socket to passt among QEMU's files.
func passtFile(id string) string { return "passt " + id }

// passt is an interface, as it was planned, in the words of package sidecar.
func (c *Config) passt(in *Interface, nic *qemu.NIC) (sidecar.Passt, error) {
	p := sidecar.Passt{Interface: in.ID}
	var err error
	if p.MAC, err = net.ParseMAC(nic.MAC); err != nil {
		return p, err
	}
	forwards, err := c.forwards()
	if err != nil {
		return p, err
	}
	for _, f := range forwards {
		switch {
		case !f.fromGuest:
			p.Forwards = append(p.Forwards, sidecar.Forward{
				UDP: f.udp, HostAddr: f.host.Addr(), HostPort: f.host.Port(), GuestPort: f.guest.Port(),
			})
		case !f.direct():
			p.Redirects = append(p.Redirects, sidecar.Redirect{UDP: f.udp, From: f.guest, To: f.host})
		}
	}
	return p, nil
}
