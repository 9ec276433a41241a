package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// Sizes and places that the format fixes. See Documentation/filesystems/erofs.rst
// and fs/erofs/erofs_fs.h in the kernel's source.
const (
	blockBits = 12 // 4096: kernels before 6.4 accept only their page size
	blockSize = 1 << blockBits

	superOffset = 1024
	superSize   = 128
	superMagic  = 0xE0F5E1E2

	featureChecksum = 1 // of feature_compat: the superblock has a checksum

	labelSize = 16
	buildTime = 1 // what Nix sets as the time of every file in its store
)

// Offsets of superblock fields from superOffset.
const (
	sbMagic     = 0
	sbChecksum  = 4
	sbCompat    = 8
	sbBlockBits = 12
	sbRootNid   = 14
	sbInodes    = 16
	sbBuildTime = 24
	sbBlocks    = 36
	sbUUID      = 48
	sbLabel     = 64
)

var le = binary.LittleEndian

// A super is the part of a superblock that differs between images.
type super struct {
	label  string
	uuid   [16]byte
	inodes uint64
	blocks uint32
}

// unlikeMinix returns the number of inodes to state, which only statfs(2) shows.
// The field lies where a minix file system has its magic number, and blkid calls
// an image ambiguous, so that it gets no label, when the two agree by chance
// (microvm.nix issue 605).
func unlikeMinix(inodes uint64) uint64 {
	switch uint16(inodes) {
	case 0x137f, 0x138f, 0x2468, 0x2478, 0x4d5a: // linux/magic.h
		return inodes + 1
	}
	return inodes
}

// put writes the superblock into block, which is block 0 and complete but for
// it: the checksum covers all that follows.
func (s *super) put(block []byte) {
	b := block[superOffset : superOffset+superSize]
	clear(b)
	le.PutUint32(b[sbMagic:], superMagic)
	le.PutUint32(b[sbCompat:], featureChecksum)
	b[sbBlockBits] = blockBits
	le.PutUint16(b[sbRootNid:], rootNid)
	le.PutUint64(b[sbInodes:], unlikeMinix(s.inodes))
	le.PutUint64(b[sbBuildTime:], buildTime)
	le.PutUint32(b[sbBlocks:], s.blocks)
	copy(b[sbUUID:], s.uuid[:])
	copy(b[sbLabel:sbLabel+labelSize], s.label)
	le.PutUint32(b[sbChecksum:], checksum(block[superOffset:]))
}

// checksum is the CRC-32C of b as the kernel computes it, without the usual
// inversion at the end. The checksum field in b must be zero.
func checksum(b []byte) uint32 {
	return ^crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

func checkLabel(label string) error {
	if len(label) >= labelSize {
		return fmt.Errorf("label %q has %d bytes; at most %d fit", label, len(label), labelSize-1)
	}
	for i := range len(label) {
		if label[i] == 0 {
			return fmt.Errorf("label %q contains a NUL", label)
		}
	}
	return nil
}

// SetLabelUUID changes the label and UUID of the EROFS image in f, which any
// tool may have made, and brings its checksum up to date if it has one. It
// checks the checksum first, so that it does not make a damaged image look
// sound.
func SetLabelUUID(f *os.File, label string, uuid [16]byte) error {
	if err := checkLabel(label); err != nil {
		return err
	}
	// The checksum reaches to the end of block 0, or over one block from
	// the superblock on if blocks are so small that it lies in a later one.
	// No block is larger than 64 KiB.
	buf := make([]byte, 64<<10)
	n, err := f.ReadAt(buf, superOffset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	buf = buf[:n]
	if err := relabel(buf, label, uuid); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	_, err = f.WriteAt(buf[:superSize], superOffset)
	return err
}

// relabel edits the superblock at the start of b, which holds the image from
// there on.
func relabel(b []byte, label string, uuid [16]byte) error {
	if len(b) < superSize || le.Uint32(b[sbMagic:]) != superMagic {
		return errors.New("not an EROFS image")
	}
	covered := b
	sealed := le.Uint32(b[sbCompat:])&featureChecksum != 0
	if sealed {
		bits := b[sbBlockBits]
		if bits < 9 || bits > 16 {
			return fmt.Errorf("block size of 2^%d bytes is not one of EROFS", bits)
		}
		size := 1 << bits
		if size > superOffset {
			size -= superOffset
		}
		if size > len(b) {
			return errors.New("image ends inside its first block")
		}
		covered = b[:size]
		old := le.Uint32(b[sbChecksum:])
		le.PutUint32(b[sbChecksum:], 0)
		if got := checksum(covered); got != old {
			return fmt.Errorf("superblock checksum is %08x; want %08x", old, got)
		}
	}
	copy(b[sbUUID:], uuid[:])
	clear(b[sbLabel : sbLabel+labelSize])
	copy(b[sbLabel:], label)
	if sealed {
		le.PutUint32(b[sbChecksum:], checksum(covered))
	}
	return nil
}
