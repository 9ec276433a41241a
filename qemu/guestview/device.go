package guestview

import (
	"fmt"
	"slices"
	"strings"
)

// plainDevices are those of which a guest may have one, and that have no
// properties worth comparing.
var plainDevices = map[string]string{
	"rng": "entropy", "i8042": "keyboard", "pvpanic": "panic notifier", "pvpanic-pci": "panic notifier",
	"qemu-xhci": "usb bus", "usb-tablet": "tablet", "usb-kbd": "usb keyboard", "serial": "virtio-serial bus",
	"virtio-vga-gl": "display", "virtio-gpu-gl": "display", "virtio-gpu": "display",
}

// device describes one device.
func (p *parser) device(o option) error {
	kind := o.first
	for _, bus := range []string{"-device", "-pci"} {
		if strings.HasPrefix(kind, "virtio-") || strings.HasPrefix(kind, "vhost-") {
			kind = strings.TrimSuffix(kind, bus)
		}
	}
	if short, virtio := strings.CutPrefix(kind, "virtio-"); virtio && !strings.HasPrefix(short, "vga") && !strings.HasPrefix(short, "gpu") {
		kind = short
	}
	if name, ok := plainDevices[kind]; ok {
		p.add("%s", name)
		return nil
	}
	describe, ok := describers[kind]
	if !ok {
		return fmt.Errorf("unknown device")
	}
	return describe(p, o)
}

// describers are for the devices with properties that a guest sees.
var describers = map[string]func(*parser, option) error{
	"blk": (*parser).disk, "net": (*parser).nic, "9p": (*parser).share9p, "vhost-user-fs": (*parser).virtiofs,
	"balloon":        (*parser).balloon,
	"virtserialport": func(p *parser, o option) error { p.add("port %s", o.get("name")); return nil },
	"vhost-vsock":    func(p *parser, o option) error { p.add("vsock cid=%s", o.get("guest-cid")); return nil },
	"mem":            func(p *parser, o option) error { p.add("hotplug memory %s", o.get("requested-size")); return nil },
	"pcie-root-port": func(p *parser, o option) error { p.add("root port %s", o.get("id")); return nil },
	"vfio-pci":       func(p *parser, o option) error { p.add("host pci %s", o.get("host")); return nil },
	"usb-host": func(p *parser, o option) error {
		p.add("host usb %s:%s", o.get("vendorid"), o.get("productid"))
		return nil
	},
}

// behind returns the back-end that the device's property names.
func (p *parser) behind(o option, key string) (option, error) {
	b, ok := p.backends[o.get(key)]
	if !ok {
		return option{}, fmt.Errorf("no back-end %q", o.get(key))
	}
	return b, nil
}

func (p *parser) disk(o option) error {
	b, err := p.behind(o, "drive")
	if err != nil {
		return err
	}
	d := fmt.Sprintf("disk %d", p.disks)
	p.disks++
	if b.on("read-only") {
		d += " read-only"
	}
	if b.get("discard") == "unmap" {
		d += " discard"
	}
	if s := o.get("serial"); s != "" {
		d += " serial=" + s
	}
	p.add("%s", d)
	return nil
}

func (p *parser) nic(o option) error {
	b, err := p.behind(o, "netdev")
	if err != nil {
		return err
	}
	var d strings.Builder
	d.WriteString(fmt.Sprintf("nic %d %s mac=%s", p.nics, b.first, o.get("mac")))
	p.nics++
	queues := b.get("queues")
	if fds := b.get("fds"); fds != "" {
		queues = fmt.Sprint(strings.Count(fds, ":") + 1)
	}
	if queues != "" && queues != "1" {
		d.WriteString(" queues=" + queues)
	}
	forwards := b.all("hostfwd")
	slices.Sort(forwards)
	for _, f := range append(forwards, b.all("guestfwd")...) {
		d.WriteString(" " + f)
	}
	p.add("%s", d.String())
	return nil
}

func (p *parser) share9p(o option) error {
	b, err := p.behind(o, "fsdev")
	if err != nil {
		return err
	}
	d := "9p " + o.get("mount_tag") + " of " + b.get("path") + " " + b.get("security_model")
	if b.on("readonly") {
		d += " read-only"
	}
	p.add("%s", d)
	return nil
}

func (p *parser) virtiofs(o option) error {
	_, err := p.behind(o, "chardev")
	p.add("virtiofs %s", o.get("tag"))
	return err
}

func (p *parser) balloon(o option) error {
	var d strings.Builder
	d.WriteString("balloon")
	for _, feature := range []string{"free-page-reporting", "deflate-on-oom"} {
		if o.on(feature) {
			d.WriteString(" " + feature)
		}
	}
	p.add("%s", d.String())
	return nil
}
