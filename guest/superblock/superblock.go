// Package superblock tells which file system is on a block device, and what
// its label is, from a few bounded reads.
//
// It knows erofs, squashfs, ext2/3/4, btrfs, xfs and vfat: what mvm itself
// makes and what people keep volumes on. It is not a libblkid. The bytes come
// from disks that nobody vouches for, so every offset is a constant and every
// result is a copy.
package superblock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// A Superblock is what a file system says of itself. The zero value means that
// none of the known ones was found.
type Superblock struct {
	// Type is the type as the kernel names it: "erofs", "ext4", …
	Type string

	// Label is the volume label without padding, or "". Squashfs has none. It
	// is bytes, not text: nothing makes a file system's label UTF-8.
	Label string
}

// headSize covers every superblock but that of btrfs, which is at 64 KiB.
const (
	headSize    = 4096
	btrfsOffset = 64 << 10
)

// Probe reads the superblock of a device. A device that is too small or has no
// file system on it is not an error; a device that cannot be read is.
func Probe(r io.ReaderAt) (Superblock, error) {
	head, err := readAt(r, 0, headSize)
	if err != nil {
		return Superblock{}, err
	}
	for _, probe := range probes {
		if sb, ok := probe(head); ok {
			return sb, nil
		}
	}
	tail, err := readAt(r, btrfsOffset, headSize)
	if err != nil {
		return Superblock{}, err
	}
	if sb, ok := btrfs(tail); ok {
		return sb, nil
	}
	sb, _ := vfat(head)
	return sb, nil
}

// probes are tried in this order, which only matters on a device that had one
// file system made over another without wiping it. vfat comes after all: its
// signature is that of any boot sector.
var probes = []func([]byte) (Superblock, bool){xfs, squashfs, erofs, ext}

// readAt reads n bytes; what lies beyond the end of the device reads as zero.
func readAt(r io.ReaderAt, off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

func xfs(b []byte) (Superblock, bool) {
	return Superblock{"xfs", label(b[108:120])}, string(b[:4]) == "XFSB"
}

func squashfs(b []byte) (Superblock, bool) {
	return Superblock{Type: "squashfs"}, string(b[:4]) == "hsqs"
}

func erofs(b []byte) (Superblock, bool) {
	b = b[1024:]
	return Superblock{"erofs", label(b[64:80])}, binary.LittleEndian.Uint32(b) == 0xe0f5e1e2
}

// Features that tell the three apart, as blkid does: ext3 is ext2 with a
// journal, and ext4 is anything that ext3's driver would have refused.
const (
	extCompatJournal  = 0x4
	extIncompatOfExt3 = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
	extROCompatOfExt3 = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
)

func ext(b []byte) (Superblock, bool) {
	b = b[1024:]
	if binary.LittleEndian.Uint16(b[0x38:]) != 0xef53 {
		return Superblock{}, false
	}
	sb := Superblock{"ext2", label(b[0x78:0x88])}
	if binary.LittleEndian.Uint32(b[0x5c:])&extCompatJournal != 0 {
		sb.Type = "ext3"
	}
	incompat, roCompat := binary.LittleEndian.Uint32(b[0x60:]), binary.LittleEndian.Uint32(b[0x64:])
	if incompat&^extIncompatOfExt3 != 0 || roCompat&^extROCompatOfExt3 != 0 {
		sb.Type = "ext4"
	}
	return sb, true
}

func btrfs(b []byte) (Superblock, bool) {
	return Superblock{"btrfs", label(b[0x12b : 0x12b+256])}, string(b[0x40:0x48]) == "_BHRfS_M"
}

// vfat reads the label that is in the boot sector. It is also in the root
// directory; mkfs.vfat and fatlabel keep the two alike.
func vfat(b []byte) (Superblock, bool) {
	if b[510] != 0x55 || b[511] != 0xaa {
		return Superblock{}, false
	}
	var l []byte
	switch {
	case string(b[82:87]) == "FAT32":
		l = b[71:82]
	case string(b[54:57]) == "FAT": // FAT12, FAT16, or just FAT
		l = b[43:54]
	default:
		return Superblock{}, false
	}
	sb := Superblock{"vfat", label(bytes.TrimRight(l, " "))}
	if sb.Label == "NO NAME" {
		sb.Label = ""
	}
	return sb, true
}

// label returns b up to its first NUL.
func label(b []byte) string {
	l, _, _ := bytes.Cut(b, []byte{0})
	return string(l)
}
