package hostdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A USB says which USB device is meant. Zero values say nothing; what is set must
// all hold.
type USB struct {
	Vendor, Product uint16 // as lsusb shows them
	Bus, Address    int    // where it is now
	Port            string // of its bus, as "1.4"
	File            string // the kernel's, as "/dev/bus/usb/001/002"
}

func (u USB) String() string {
	var parts []string
	add := func(set bool, format string, arg any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, arg))
		}
	}
	add(u.Vendor != 0, "vendor 0x%04x", u.Vendor)
	add(u.Product != 0, "product 0x%04x", u.Product)
	add(u.Bus != 0, "bus %d", u.Bus)
	add(u.Address != 0, "address %d", u.Address)
	add(u.Port != "", "port %s", u.Port)
	add(u.File != "", "file %s", u.File)
	return strings.Join(parts, ", ")
}

// Set takes one of QEMU's properties of usb-host that say which device is meant.
// Other properties change nothing.
func (u *USB) Set(key, value string) error {
	number := func(bits int) uint64 {
		n, err := strconv.ParseUint(value, 0, bits)
		if err != nil || n == 0 {
			return 0
		}
		return n
	}
	ok := true
	switch key {
	case "vendorid":
		u.Vendor = uint16(number(16))
		ok = u.Vendor != 0
	case "productid":
		u.Product = uint16(number(16))
		ok = u.Product != 0
	case "hostbus":
		u.Bus = int(number(8))
		ok = u.Bus != 0
	case "hostaddr":
		u.Address = int(number(8))
		ok = u.Address != 0
	case "hostport":
		u.Port, ok = value, value != ""
	case "hostdevice":
		u.File, ok = value, value != ""
	}
	if !ok {
		return fmt.Errorf("%s=%s: it is no number that a device has", key, value)
	}
	return nil
}

// FindUSB looks whether the device is plugged in and may be opened by this process,
// and returns the kernel's file of it. QEMU takes it later, and would wait for ever
// without a word for one that is not there. The error is a [HostError].
func FindUSB(u USB) (file string, err error) {
	op := "find USB device with " + u.String()
	dirs, err := filepath.Glob(filepath.Join(sys, "bus/usb/devices/*"))
	if err != nil {
		return "", err
	}
	for _, dir := range dirs {
		bus, address, ok := u.matches(dir)
		if !ok {
			continue
		}
		file := filepath.Join(dev, fmt.Sprintf("bus/usb/%03d/%03d", bus, address))
		if u.File != "" && filepath.Clean(u.File) != file {
			continue
		}
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err == nil {
			return file, f.Close()
		}
		hint := "unplug it and plug it in again"
		if errors.Is(err, fs.ErrPermission) {
			hint = "give the user who runs the machine the right to it, by a rule of udev's"
		}
		return "", &HostError{Op: op, Err: err, Hint: hint}
	}
	return "", &HostError{Op: op, Err: errors.New("none is plugged in"), Hint: "plug it in before the machine starts; lsusb lists those that are there"}
}

// matches reports whether the device in a directory of sysfs is meant, and where it
// is.
func (u USB) matches(dir string) (bus, address int, ok bool) {
	read := func(file string, base int) int {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return -1
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), base, 32)
		if err != nil {
			return -1
		}
		return int(n)
	}
	if bus, address = read("busnum", 10), read("devnum", 10); bus < 0 || address < 0 {
		return 0, 0, false // an interface of a device
	}
	path, _ := os.ReadFile(filepath.Join(dir, "devpath"))
	for _, wrong := range []bool{
		u.Vendor != 0 && read("idVendor", 16) != int(u.Vendor),
		u.Product != 0 && read("idProduct", 16) != int(u.Product),
		u.Bus != 0 && bus != u.Bus,
		u.Address != 0 && address != u.Address,
		u.Port != "" && strings.TrimSpace(string(path)) != u.Port,
	} {
		if wrong {
			return 0, 0, false
		}
	}
	return bus, address, true
}
