package qemu

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
)

// channels adds the ways between host and guest that every machine has, and
// the devices without which it would be blind.
func (b *builder) channels() {
	if !b.Standalone {
		b.addOpt("always", "-chardev", newOption("socket").set("id", "qmp").num("fd", fdQMP))
		b.addOpt("always", "-mon", newOption("").set("chardev", "qmp").set("mode", "control"))
	}
	if b.MonitorFile != "" {
		o := newOption("socket").set("id", "monitor")
		if b.inherits(b.MonitorFile) {
			o.set("fd", b.fd(b.MonitorFile))
		} else {
			o.set("path", b.MonitorSocket)
		}
		b.addOpt("socket", "-chardev", o.flag("server", true).flag("wait", false))
		b.addOpt("socket", "-mon", newOption("").set("chardev", "monitor").set("mode", "control"))
	}
	if b.Console {
		o := newOption("socket").set("id", "console").num("fd", fdConsole)
		if b.Standalone {
			o = newOption("stdio").set("id", "console").flag("mux", true).flag("signal", false)
		}
		b.addOpt("qemu.serialConsole", "-chardev", o)
		b.add("qemu.serialConsole", "-serial", "chardev:console")
		if b.Standalone {
			// Ctrl-A X ends QEMU, Ctrl-A C is its monitor.
			b.addOpt("a way out", "-mon", newOption("").set("chardev", "console").set("mode", "readline"))
		}
	}
	if b.Agent != "" {
		o := newOption("socket").set("id", "agent").num("fd", fdAgent)
		if b.Standalone {
			// The guest waits for the port, and for nobody at its other end.
			o = newOption("null").set("id", "agent")
		}
		b.addOpt("the agent", "-chardev", o)
		b.addOpt("the agent", "-device", b.modern("serial"))
		b.addOpt("the agent", "-device", newOption("virtserialport").set("chardev", "agent").set("name", b.Agent))
	}
	b.addOpt("always", "-device", b.modern("rng"))
	if b.family() == Virt {
		b.add("tells of a guest's panic", "-device", "pvpanic-pci")
	} else {
		b.add("tells of a guest's panic", "-device", "pvpanic")
	}
	if b.family() == MicroVM {
		// Q35 has one on its board.
		b.add("Ctrl-Alt-Del stops a guest", "-device", "i8042")
	}
}

// firmware adds what the guest reads from tables instead of devices.
func (b *builder) firmware() {
	if b.UUID != "" {
		b.addOpt("machineId", "-smbios", newOption("").set("type", "1").set("uuid", b.UUID))
	}
	for _, c := range b.Credentials {
		o := newOption("").set("name", credentialPrefix+c.Name)
		if c.Text != "" {
			o.set("string", c.Text)
		} else {
			o.set("file", b.path(c.Path, c.File))
		}
		b.addOpt(or(c.Why, "credentialFiles."+c.Name), "-fw_cfg", o)
	}
}

// credentialPrefix is where systemd looks for credentials in fw_cfg:
// systemd.exec(5), "LoadCredential=", and systemd(1), "CREDENTIALS".
const credentialPrefix = "opt/io.systemd.credentials/"

func (b *builder) rootPorts() {
	for i, p := range b.RootPorts {
		o := newOption("pcie-root-port").maybe("id", p.ID).maybe("bus", p.Bus).
			maybe("chassis", p.Chassis).maybe("slot", p.Slot).maybe("addr", p.Addr)
		b.addOpt(why(p.Why, "qemu.pcieRootPorts", i), "-device", o)
	}
}

func (b *builder) drives() {
	for i := range b.Drives {
		d := &b.Drives[i]
		w := why(d.Why, "volumes", i)
		b.addOpt(w, "-blockdev", b.blockdev(w, d))
		o := b.modern("blk").set("drive", d.ID).maybe("serial", d.Serial).maybe("bus", d.Bus)
		b.addOpt(w, "-device", o)
	}
}

func (b *builder) blockdev(w string, d *Drive) *option {
	o := newOption("").set("driver", or(d.Format, "raw")).set("node-name", d.ID).flag("read-only", !d.Writable)
	if d.Discard {
		o.set("discard", "unmap")
	}
	if d.Direct {
		o.flag("cache.direct", true)
	}
	driver, path := "file", d.Path
	if d.BlockDevice {
		driver = "host_device"
	}
	if b.inherits(d.File) {
		// A set, since QEMU would open a path in /proc anew and need the
		// permission to. What it calls opaque is for people: QMP's
		// query-fdsets shows it.
		set := b.fd(d.File)
		b.addOpt(w, "-add-fd", newOption("").set("fd", set).set("set", set).maybe("opaque", d.Path))
		path = "/dev/fdset/" + set
	}
	return o.set("file.driver", driver).set("file.filename", path).set("file.aio", or(d.AIO, "threads"))
}

func (b *builder) balloon() {
	if !b.Balloon {
		return
	}
	o := b.modern("balloon").set("id", "balloon0").flag("free-page-reporting", true)
	if b.DeflateOnOOM {
		o.flag("deflate-on-oom", true)
	}
	b.addOpt("balloon", "-device", o)
}

func (b *builder) shares() {
	for i := range b.Shares {
		s := &b.Shares[i]
		w, id := why(s.Why, "shares", i), "fs"+strconv.Itoa(i)
		if !s.virtiofs() {
			b.addOpt(w, "-fsdev", newOption("local").set("id", id).set("path", s.Path).
				set("security_model", or(s.Security, "none")).flag("readonly", !s.Writable))
			b.addOpt(w, "-device", b.modern("9p").set("fsdev", id).set("mount_tag", s.Tag))
			continue
		}
		o := newOption("socket").set("id", id)
		if b.inherits(s.SocketFile) {
			o.set("fd", b.fd(s.SocketFile))
		} else {
			o.set("path", s.Socket)
		}
		b.addOpt(w, "-chardev", o)
		device := "vhost-user-fs-device"
		if b.pci {
			device = "vhost-user-fs-pci"
		}
		b.addOpt(w, "-device", newOption(device).set("chardev", id).set("tag", s.Tag))
	}
}

// NetdevID is QMP's name for what is behind card i of [Machine.NICs].
func NetdevID(i int) string { return "net" + strconv.Itoa(i) }

func (b *builder) nics() {
	for i := range b.NICs {
		n := &b.NICs[i]
		w, id := why(n.Why, "interfaces", i), NetdevID(i)
		queues := 1
		switch {
		case n.User != nil:
			b.addOpt(w, "-netdev", userNet(id, n.User))
		case n.Tap != nil:
			b.addOpt(w, "-netdev", b.tap(id, n.Tap))
			queues = n.Tap.queues()
		case n.Stream != nil:
			b.addOpt(w, "-netdev", b.stream(id, n.Stream))
		default:
			continue // Check says so
		}
		o := b.modern("net").set("netdev", id).maybe("mac", n.MAC)
		if queues > 1 {
			o.flag("mq", true)
		}
		if n.MTU > 0 {
			o.num("host_mtu", n.MTU)
		}
		if b.pci {
			// No boot ROM: the kernel is given, and a ROM costs seconds.
			o.set("romfile", "")
			if queues > 1 {
				// One vector for each direction of each queue, one for
				// the configuration, one for the control queue. Mmio
				// has a single interrupt for all.
				o.num("vectors", 2*queues+2)
			}
		}
		b.addOpt(w, "-device", o)
	}
}

func userNet(id string, u *UserNet) *option {
	o := newOption("user").set("id", id)
	if u.Restrict {
		o.flag("restrict", true)
	}
	for _, f := range u.HostForwards {
		proto := "tcp"
		if f.UDP {
			proto = "udp"
		}
		o.set("hostfwd", fmt.Sprintf("%s:%s:%d-%s:%d", proto, addr(f.HostAddr), f.HostPort, addr(f.GuestAddr), f.GuestPort))
	}
	return o
}

// addr returns a as QEMU writes it, which leaves out an address for "all" or
// "the default".
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (b *builder) tap(id string, t *TapNet) *option {
	o := newOption("tap").set("id", id)
	if len(t.Files) > 0 && !b.Standalone {
		// The tap is as it should be: QEMU refuses ifname and script here.
		o.set("fds", b.fds(t.Files))
		if len(t.VhostFiles) > 0 {
			return o.flag("vhost", true).set("vhostfds", b.fds(t.VhostFiles))
		}
	} else {
		o.set("ifname", t.Ifname).set("script", "no").set("downscript", "no")
		if t.queues() > 1 {
			o.num("queues", t.queues())
		}
	}
	if t.Vhost || len(t.VhostFiles) > 0 {
		o.flag("vhost", true)
	}
	return o
}

func (b *builder) stream(id string, s *StreamNet) *option {
	o := newOption("stream").set("id", id).flag("server", false)
	if b.inherits(s.File) {
		return o.set("addr.type", "fd").set("addr.str", b.fd(s.File))
	}
	return o.set("addr.type", "unix").set("addr.path", s.Socket)
}

func (b *builder) vsock() {
	if b.Vsock == nil {
		return
	}
	device := "vhost-vsock-device"
	if b.pci {
		device = "vhost-vsock-pci"
	}
	o := newOption(device).set("guest-cid", strconv.FormatUint(uint64(b.Vsock.CID), 10))
	if b.inherits(b.Vsock.File) {
		o.set("vhostfd", b.fd(b.Vsock.File))
	}
	b.addOpt("vsock.cid", "-device", o)
}

func (b *builder) devices() {
	usb := b.Graphics != nil
	for _, d := range b.Devices {
		usb = usb || d.PCI == ""
	}
	if usb {
		b.add("devices", "-device", "qemu-xhci")
	}
	for i, d := range b.Devices {
		o := newOption("usb-host").props(d.USB)
		if d.PCI != "" {
			o = newOption("vfio-pci").set("host", d.PCI).flag("multifunction", true)
		}
		o.maybe("id", d.ID).maybe("bus", d.Bus).props(d.Extra)
		b.addOpt(why(d.Why, "devices", i), "-device", o)
	}
}

func (b *builder) graphics() {
	if b.Graphics == nil {
		return
	}
	display, card := newOption("gtk").flag("gl", true), "virtio-vga-gl"
	if b.Graphics.Backend == "headless" {
		display, card = newOption("egl-headless"), "virtio-gpu-gl-pci"
	}
	b.addOpt("graphics.backend", "-display", display)
	b.addOpt("graphics", "-device", newOption(card).props(b.Graphics.Extra))
	b.add("graphics", "-device", "usb-tablet")
	b.add("graphics", "-device", "usb-kbd")
}

// why returns the element's own reason, or else its place in the list.
func why(own, list string, i int) string {
	return cmp.Or(own, fmt.Sprintf("%s[%d]", list, i))
}
