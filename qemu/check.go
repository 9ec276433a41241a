package qemu

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of QEMU's devices.
const (
	maxSerial      = 20                         // VIRTIO_BLK_ID_BYTES
	max9pTag       = 31                         // MAX_TAG_LEN of virtio-9p, less its end
	maxVirtiofsTag = 36                         // virtio 1.2, 5.11.4
	maxCredential  = 55 - len(credentialPrefix) // FW_CFG_MAX_FILE_PATH, less its end
)

// Check returns everything about the machine that QEMU would refuse or, worse,
// take for something else. It looks at the description alone, not at the host.
func (m *Machine) Check() error {
	c := &checker{seen: map[string]string{}}
	c.machine(m)
	for i, d := range m.Drives {
		c.drive(why(d.Why, "volumes", i), d)
	}
	for i, p := range m.RootPorts {
		c.id(why(p.Why, "qemu.pcieRootPorts", i), p.ID)
	}
	for i, d := range m.Devices {
		c.device(why(d.Why, "devices", i), d)
	}
	for i, s := range m.Shares {
		c.share(why(s.Why, "shares", i), s)
	}
	for i, n := range m.NICs {
		c.nic(why(n.Why, "interfaces", i), n)
	}
	for _, cr := range m.Credentials {
		if cr.Name == "" || len(cr.Name) > maxCredential {
			c.bad("credentialFiles", "name %q has %d bytes; want 1 to %d", cr.Name, len(cr.Name), maxCredential)
		}
	}
	for _, f := range m.Explain() {
		for _, a := range f.Args {
			if strings.ContainsRune(a, 0) {
				c.bad(f.Why, "%q has a zero byte, which no command line can hold", a)
			}
		}
	}
	return errors.Join(c.errs...)
}

// A checker collects mistakes.
type checker struct {
	errs []error
	seen map[string]string // QEMU's ids and who has them
}

func (c *checker) bad(key, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
}

func (c *checker) machine(m *Machine) {
	switch m.family() {
	case MicroVM, Q35, Virt:
	default:
		c.bad("qemu.machine", "unknown machine %q; want microvm, q35 or virt", m.Type)
	}
	switch m.accel() {
	case KVM, TCG:
	default:
		c.bad("accel", "unknown accelerator %q; want kvm or tcg", m.Accel)
	}
	for k := range m.Options {
		if !wellFormedKey(k) {
			c.bad("qemu.machineOpts", "bad option name %q", k)
		}
	}
	if m.VCPU < 0 || m.Mem < 0 {
		c.bad("vcpu", "want no negative number of processors or MiB of memory")
	}
	if m.HotplugMem < 0 || m.HotpluggedMem < 0 || m.HotpluggedMem > m.HotplugMem {
		c.bad("hotpluggedMem", "%d MiB; want 0 to hotplugMem, which is %d", m.HotpluggedMem, m.HotplugMem)
	}
	if m.HotplugMem > 0 && m.family() == MicroVM {
		c.bad("hotplugMem", "the microvm machine cannot add memory; use q35")
	}
	if m.Balloon && m.HugePages {
		c.bad("balloon", "huge pages that were given back may not be there again; use hotplugMem")
	}
	if m.Vsock != nil && m.Vsock.CID < 3 {
		c.bad("vsock.cid", "%d is reserved; want 3 or more", m.Vsock.CID)
	}
	if m.Graphics != nil {
		switch m.Graphics.Backend {
		case "", "gtk", "headless":
		default:
			c.bad("graphics.backend", "unknown back-end %q; want gtk or headless", m.Graphics.Backend)
		}
		c.props("graphics", m.Graphics.Extra)
	}
}

// id checks a name for QEMU, by the rule of its id_wellformed, and that it is
// not taken. Empty is no name.
func (c *checker) id(key, id string) {
	if id == "" {
		return
	}
	if !wellFormedID(id) {
		c.bad(key, "bad id %q; want a letter, then letters, digits, '-', '.' or '_'", id)
	}
	if who, taken := c.seen[id]; taken {
		c.bad(key, "id %q is already that of %s", id, who)
	}
	c.seen[id] = key
}

func wellFormedID(id string) bool {
	first := id[0] | 0x20
	return first >= 'a' && first <= 'z' && wellFormedKey(id)
}

func (c *checker) drive(key string, d Drive) {
	if d.ID == "" {
		c.bad(key, "a drive needs an id")
	}
	c.id(key, d.ID)
	if len(d.ID) > 31 {
		c.bad(key, "id %q has %d bytes; want at most 31", d.ID, len(d.ID)) // node names are 32 bytes
	}
	if len(d.Serial) > maxSerial {
		c.bad(key, "serial %q has %d bytes; want at most %d", d.Serial, len(d.Serial), maxSerial)
	}
	if d.Path == "" && d.File == "" {
		c.bad(key, "a drive needs a path")
	}
	switch d.AIO {
	case "", "threads", "io_uring":
	case "native":
		if !d.Direct {
			c.bad(key, "aio=native needs direct")
		}
	default:
		c.bad(key, "unknown aio %q; want threads, native or io_uring", d.AIO)
	}
}

func (c *checker) device(key string, d HostDevice) {
	if (d.PCI == "") == (len(d.USB) == 0) {
		c.bad(key, "want either a PCI address or what identifies a USB device")
	}
	c.id(key, d.ID)
	c.props(key, d.USB)
	c.props(key, d.Extra)
}

func (c *checker) props(key string, ps []Prop) {
	for _, p := range ps {
		if !wellFormedKey(p.Key) {
			c.bad(key, "bad property name %q", p.Key)
		}
	}
}

func (c *checker) share(key string, s Share) {
	limit := max9pTag
	if s.virtiofs() {
		limit = maxVirtiofsTag
		if s.Path != "" {
			c.bad(key, "a share is served by 9p or by virtiofs; want a path or a socket")
		}
	} else if s.Path == "" {
		c.bad(key, "a share needs a path or a socket")
	}
	if s.Tag == "" || len(s.Tag) > limit {
		c.bad(key, "tag %q has %d bytes; want 1 to %d", s.Tag, len(s.Tag), limit)
	}
}

func (c *checker) nic(key string, n NIC) {
	backends := 0
	for _, has := range []bool{n.User != nil, n.Tap != nil, n.Stream != nil} {
		if has {
			backends++
		}
	}
	if backends != 1 {
		c.bad(key, "%d back-ends; want one", backends)
	}
	if n.User != nil {
		for _, f := range n.User.HostForwards {
			if f.HostAddr.Is6() || f.GuestAddr.Is6() {
				c.bad(key, "QEMU's user network forwards no IPv6 ports")
			}
		}
	}
	if t := n.Tap; t != nil {
		if len(t.Files) == 0 && (t.Ifname == "" || len(t.Ifname) > 15) {
			c.bad(key, "tap name %q has %d bytes; want 1 to 15", t.Ifname, len(t.Ifname))
		}
		if len(t.VhostFiles) > 0 && len(t.VhostFiles) != len(t.Files) {
			c.bad(key, "%d vhost files for %d queues", len(t.VhostFiles), len(t.Files))
		}
	}
}
