package mounts

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// MaxSerial is how many bytes virtio has for the serial number of a disk
// (VIRTIO_BLK_ID_BYTES). QEMU cuts a longer one without a word.
const MaxSerial = 20

// VolumeSerial returns the virtio serial number of v, the machine's disk at
// position (see [Disk.Position]). QEMU must give the disk this serial, and the
// guest finds it by it.
//
// It is the volume's own serial if it has one; else "mvm-" and the label, which
// leaves room for the 16 bytes of an ext4 label; else "disk-" and the position,
// so it differs between volumes unless their own serials or labels are equal,
// which [For] refuses. A label that is longer, or has characters that udev
// would change in a device's name, is shortened and gets a hash.
func VolumeSerial(v Volume, position int) string {
	switch {
	case v.Serial != "":
		return v.Serial
	case v.Label == "":
		return fmt.Sprintf("disk-%d", position)
	}
	const prefix = "mvm-"
	safe := strings.Map(func(r rune) rune {
		if serialRune(r) {
			return r
		}
		return '_'
	}, v.Label)
	if safe == v.Label && len(prefix)+len(safe) <= MaxSerial {
		return prefix + safe
	}
	h := fnv.New32a()
	h.Write([]byte(v.Label))
	sum := fmt.Sprintf("-%08x", h.Sum32())
	return prefix + safe[:min(len(safe), MaxSerial-len(prefix)-len(sum))] + sum
}

// serialRune reports whether udev keeps r as it is in /dev/disk/by-id. Commas
// and spaces are not among them, nor is the slash.
func serialRune(r rune) bool {
	switch {
	case '0' <= r && r <= '9', 'A' <= r && r <= 'Z', 'a' <= r && r <= 'z':
		return true
	}
	return strings.ContainsRune("#+-.:=@_", r)
}

// checkSerial returns what is wrong with a serial, or "".
func checkSerial(s string) string {
	switch {
	case len(s) > MaxSerial:
		return fmt.Sprintf("serial %q has %d bytes, virtio has room for %d", s, len(s), MaxSerial)
	case strings.ContainsFunc(s, func(r rune) bool { return !serialRune(r) }):
		return fmt.Sprintf("serial %q has characters that a device name cannot have", s)
	}
	return ""
}
