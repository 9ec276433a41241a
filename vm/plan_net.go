package vm

import (
	"crypto/sha256"
	"fmt"

	"github.com/mvmrun/mvm/qemu"
)

// nic is the network card of interface i of a machine with so many CPUs.
func (c *Config) nic(i, vcpus int, host Host) (qemu.NIC, error) {
	in := &c.Interfaces[i]
	nic := qemu.NIC{MAC: in.MAC, Why: fmt.Sprintf("interfaces[%d]", i)}
	if nic.MAC == "" {
		nic.MAC = deriveMAC(c.MachineName(), in.ID)
	}
	var err error
	switch in.Type {
	case "user":
		err = c.userNIC(&nic, in, host)
	case "tap":
		nic.Tap = tapNet(in.ID, vcpus, in.Tap.VHost)
	case "macvtap":
		nic.Tap = tapNet(in.ID, vcpus, false)
	case "bridge":
		// mvm makes the tap and puts it on the bridge, or has it made; QEMU
		// would have to start programs for that.
		nic.Tap = tapNet(in.ID, 1, false)
	default:
		err = fmt.Errorf("unknown type %q", in.Type)
	}
	return nic, err
}

// tapNet is a tap that mvm opens: a queue for each CPU, as microvm.nix has it.
func tapNet(id string, queues int, vhost bool) *qemu.TapNet {
	t := &qemu.TapNet{Ifname: id, Queues: queues}
	for q := range queues {
		t.Files = append(t.Files, tapFile(id, q))
		if vhost {
			t.VhostFiles = append(t.VhostFiles, vhostFile(id, q))
		}
	}
	return t
}

// tapFile and vhostFile name the descriptors of a queue among QEMU's files.
func tapFile(id string, queue int) string   { return fmt.Sprintf("tap %s %d", id, queue) }
func vhostFile(id string, queue int) string { return fmt.Sprintf("vhost %s %d", id, queue) }

// deriveMAC makes an address from the names of machine and interface: locally
// administered, unicast, and the same on every host and at every start.
func deriveMAC(machine, id string) string {
	sum := sha256.Sum256([]byte("mvm:" + machine + "/" + id))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}
