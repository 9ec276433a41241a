// Package superblock tells which file system is on a block device, what its
// label is and how large it is, from a few bounded reads.
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
	"math"
	"math/bits"
)

// A Superblock is what a file system says of itself. The zero value means that
// none of the known ones was found.
type Superblock struct {
	// Type is the type as the kernel names it: "erofs", "ext4", …
	Type string

	// Label is the volume label without padding, or "". Squashfs has none. It
	// is bytes, not text: nothing makes a file system's label UTF-8.
	Label string

	// Size is how many bytes of its device the file system uses. Zero means
	// that it is not known: of erofs and squashfs nobody needs it.
	Size int64
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
	big := binary.BigEndian
	size := bytesOf(big.Uint64(b[8:]), uint64(big.Uint32(b[4:])))
	return Superblock{"xfs", label(b[108:120]), size}, string(b[:4]) == "XFSB"
}

func squashfs(b []byte) (Superblock, bool) {
	return Superblock{Type: "squashfs"}, string(b[:4]) == "hsqs"
}

func erofs(b []byte) (Superblock, bool) {
	b = b[1024:]
	return Superblock{Type: "erofs", Label: label(b[64:80])}, binary.LittleEndian.Uint32(b) == 0xe0f5e1e2
}

// Features that tell the three apart, as blkid does: ext3 is ext2 with a
// journal, and ext4 is anything that ext3's driver would have refused.
const (
	extCompatJournal  = 0x4
	extIncompatOfExt3 = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
	extROCompatOfExt3 = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
	extIncompat64Bit  = 0x80
)

func ext(b []byte) (Superblock, bool) {
	b = b[1024:]
	little := binary.LittleEndian
	if little.Uint16(b[0x38:]) != 0xef53 {
		return Superblock{}, false
	}
	sb := Superblock{Type: "ext2", Label: label(b[0x78:0x88])}
	if little.Uint32(b[0x5c:])&extCompatJournal != 0 {
		sb.Type = "ext3"
	}
	incompat, roCompat := little.Uint32(b[0x60:]), little.Uint32(b[0x64:])
	blocks := uint64(little.Uint32(b[0x4:]))
	if incompat&extIncompat64Bit != 0 {
		blocks |= uint64(little.Uint32(b[0x150:])) << 32
	}
	sb.Size = bytesOf(blocks, 1024<<min(little.Uint32(b[0x18:]), 32))
	if incompat&^extIncompatOfExt3 != 0 || roCompat&^extROCompatOfExt3 != 0 {
		sb.Type = "ext4"
	}
	return sb, true
}

func btrfs(b []byte) (Superblock, bool) {
	// Of several devices each says here how much of itself it gives.
	size := bytesOf(binary.LittleEndian.Uint64(b[0xc9+8:]), 1)
	return Superblock{"btrfs", label(b[0x12b : 0x12b+256]), size}, string(b[0x40:0x48]) == "_BHRfS_M"
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
	little := binary.LittleEndian
	sectors := uint64(little.Uint16(b[19:]))
	if sectors == 0 {
		sectors = uint64(little.Uint32(b[32:]))
	}
	sb := Superblock{"vfat", label(bytes.TrimRight(l, " ")), bytesOf(sectors, uint64(little.Uint16(b[11:])))}
	if sb.Label == "NO NAME" {
		sb.Label = ""
	}
	return sb, true
}

// bytesOf is a number of blocks in bytes, or 0 if no device is so large.
func bytesOf(blocks, size uint64) int64 {
	hi, lo := bits.Mul64(blocks, size)
	if hi != 0 || lo > math.MaxInt64 {
		return 0
	}
	return int64(lo)
}

// label returns b up to its first NUL.
func label(b []byte) string {
	l, _, _ := bytes.Cut(b, []byte{0})
	return string(l)
}
