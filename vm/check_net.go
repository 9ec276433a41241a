package vm

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

func (k *checker) checkInterfaces() {
	ids, macs := make(seen), make(seen)
	for i := range k.c.Interfaces {
		n, at := &k.c.Interfaces[i], keyAt("interfaces", i)
		if k.required(at+".type", n.Type) {
			k.oneOf(at+".type", n.Type, "user", "tap", "macvtap", "bridge")
		}
		if k.required(at+".id", n.ID) && !k.fails(at+".id", interfaceTrouble(n.ID)) {
			ids.again(k, at+".id", n.ID, "the id")
		}
		if n.MAC != "" {
			if !k.fails(at+".mac", macTrouble(n.MAC)) {
				macs.again(k, at+".mac", strings.ToLower(n.MAC), "the address")
			}
		} else if k.c.src.wrote(at + ".mac") {
			k.wrong(at+".mac", "the address is empty").Hint = "leave it out for one that mvm derives"
		}
		k.interfaceType(n, at)
	}
}

// interfaceType checks the keys that belong to one type of interface.
func (k *checker) interfaceType(n *Interface, at string) {
	switch {
	case n.Type == "bridge" && n.Bridge == "":
		k.wrong(at+".bridge", "an interface of type bridge needs the bridge to attach to").Hint = `set bridge = "br0"`
	case n.Bridge != "" && (n.Type == "user" || n.Type == "macvtap"):
		k.wrong(at+".bridge", "an interface of type %s is attached to no bridge", n.Type).Hint = `use type = "tap" or "bridge"`
	case n.Bridge != "":
		k.fails(at+".bridge", interfaceTrouble(n.Bridge))
	}
	if n.User != (UserNetwork{}) && n.Type != "user" {
		k.wrong(at+".user", "only an interface of type user can have it").Hint = "remove it"
	}
	k.oneOf(at+".user.backend", n.User.Backend, "auto", "passt", "slirp")
	if n.User.Restrict && n.User.Backend == "passt" {
		k.wrong(at+".user.restrict", "passt cannot keep the guest from the host's network").Hint = `set user.backend = "slirp"`
	}
	if n.Tap.VHost && n.Type != "tap" {
		k.wrong(at+".tap.vhost", "only an interface of type tap can have it").Hint = "remove it"
	}
	if n.Type != "macvtap" {
		if n.Macvtap != (Macvtap{}) {
			k.wrong(at+".macvtap", "only an interface of type macvtap can have it").Hint = "remove it"
		}
		return
	}
	if k.required(at+".macvtap.link", n.Macvtap.Link) {
		k.fails(at+".macvtap.link", interfaceTrouble(n.Macvtap.Link))
	}
	k.oneOf(at+".macvtap.mode", n.Macvtap.Mode, "private", "vepa", "bridge", "passthru", "source")
}

var macForm = regexp.MustCompile(`^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`)

func macTrouble(mac string) string {
	if !macForm.MatchString(mac) {
		return quoteShort(mac) + " is no Ethernet address; write six pairs of hexadecimal digits with colons, as in 02:00:00:01:01:01"
	}
	b, _ := hex.DecodeString(strings.ReplaceAll(mac, ":", "")) // macForm lets nothing else through
	switch {
	case b[0]&1 != 0:
		return mac + " is a group's address: the first pair must be even"
	case strings.Trim(mac, "0:") == "":
		return mac + " is nobody's address"
	}
	return ""
}

var (
	pciAddress = regexp.MustCompile(`^([0-9A-Fa-f]{4}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]$`)
	usbProps   = regexp.MustCompile(`^(vendorid|productid|hostbus|hostaddr|hostport|hostdevice)=[^,\s]+(,(vendorid|productid|hostbus|hostaddr|hostport|hostdevice)=[^,\s]+)*$`)
)

func (k *checker) checkDevices() {
	paths := make(seen)
	for i := range k.c.Devices {
		d, at := &k.c.Devices[i], keyAt("devices", i)
		if d.Bus == "platform" {
			k.wrong(at+".bus", "QEMU passes no platform devices on").Hint = "use pci or usb"
		} else if k.required(at+".bus", d.Bus) {
			k.oneOf(at+".bus", d.Bus, "pci", "usb")
		}
		if !k.required(at+".path", d.Path) {
			continue
		}
		path := strings.ToLower(d.Path)
		switch {
		case d.Bus == "pci" && !pciAddress.MatchString(d.Path):
			k.wrong(at+".path", "%s is no PCI address; write it as in 0000:01:00.0", quoteShort(d.Path))
			continue
		case d.Bus == "usb" && !usbProps.MatchString(d.Path):
			k.wrong(at+".path", "%s names no USB device; write it as in vendorid=0xabcd,productid=0x0123", quoteShort(d.Path))
			continue
		case d.Bus == "pci" && len(path) == len("01:00.0"):
			path = "0000:" + path // the domain that is meant
		}
		paths.again(k, at+".path", path, fmt.Sprintf("the %s device", d.Bus))
		if d.QEMU.ID != "" && !plainID.MatchString(d.QEMU.ID) {
			k.wrong(at+".qemu.id", "%s is no id; use letters, digits, and after the first letter . _ -", quoteShort(d.QEMU.ID))
		}
		k.text(at+".qemu", d.QEMU.Bus, d.QEMU.DeviceExtraArgs)
	}
}
