package main

import (
	"fmt"
	"slices"
	"strings"
)

// probing reports whether somebody only wants to know what this QEMU can do. It
// is then an ordinary one, whatever the script says.
func probing(args []string) bool {
	for i := 1; i < len(args); i++ {
		if args[i] == "help" || args[i-1] == "-machine" && args[i] == "none" {
			return true
		}
	}
	return false
}

// help answers "-display help" and the like, and reports whether it was asked.
func help(args []string) bool {
	switch {
	case !slices.Contains(args, "help"):
		return false
	case slices.Contains(args, "-display"):
		fmt.Print("Available display backend types:\nnone\ngtk\negl-headless\n")
	default:
		fmt.Print("Available netdev backend types:\nuser\ntap\nbridge\nstream\n")
	}
	return true
}

// devices are those that mvm's machines have.
var devices = []string{
	"i8042", "pcie-root-port", "pvpanic", "pvpanic-pci", "qemu-xhci", "usb-host", "usb-kbd", "usb-tablet",
	"vfio-pci", "vhost-user-fs-device", "vhost-user-fs-pci", "vhost-vsock-device", "vhost-vsock-pci", "virtio-9p-device",
	"virtio-9p-pci", "virtio-balloon-device", "virtio-balloon-pci", "virtio-blk-device", "virtio-blk-pci",
	"virtio-gpu-gl-pci", "virtio-mem-pci", "virtio-net-device", "virtio-net-pci", "virtio-rng-device", "virtio-rng-pci",
	"virtio-serial-device", "virtio-serial-pci", "virtio-vga-gl", "virtserialport",
}

// objects lists names as QMP lists types.
func objects(names ...string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = fmt.Sprintf(`{"name":%q}`, n)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// types answers qom-list-types.
func types(implements string) string {
	if implements == "accel" {
		return objects("kvm-accel", "tcg-accel")
	}
	return objects(devices...)
}
