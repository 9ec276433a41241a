package erofs

import "math"

// Inodes are found by number: inode n starts at byte n*32, because this
// package sets meta_blkaddr to 0. A slot is such a place of 32 bytes.
const (
	slotSize      = 32
	slotsPerBlock = blockSize / slotSize

	compactSize  = 32
	extendedSize = 64

	// rootNid is the root directory's inode: the first slot behind the
	// superblock. The superblock has only 16 bits for it.
	rootNid = (superOffset + superSize) / slotSize
)

// The data layouts used here, as they stand in bits 1 to 3 of i_format.
const (
	layoutPlain  = 0 << 1
	layoutInline = 2 << 1
	formExtended = 1
)

// A kind is a file type as directory entries number it.
type kind uint8

const (
	kindFile    kind = 1
	kindDir     kind = 2
	kindSymlink kind = 7
)

// mode returns the file type bits of st_mode.
func (k kind) mode() uint16 {
	switch k {
	case kindDir:
		return 0o040000
	case kindSymlink:
		return 0o120000
	default:
		return 0o100000
	}
}

// An inode is what one inode says. Owner and time are the same for all.
type inode struct {
	kind   kind
	perm   uint16
	nlink  uint32
	size   int64
	block  uint32 // first block of data; 0 if there is none
	inline bool   // the last, partial block stands behind the inode
}

// inodeSize returns the bytes of an inode. Compact inodes have 32 bits for
// the size and 16 for the links; the others are extended.
func inodeSize(size int64, nlink uint32) int {
	if size > math.MaxUint32 || nlink > math.MaxUint16 {
		return extendedSize
	}
	return compactSize
}

// put writes the inode with number nid to the start of b and returns its size.
func (n *inode) put(b []byte, nid uint64) int {
	format := uint16(layoutPlain)
	if n.inline {
		format = layoutInline
	}
	le.PutUint16(b[4:], n.kind.mode()|n.perm)
	le.PutUint32(b[16:], n.block)
	// The number is for stat on 32-bit machines. It need not be unique, and
	// cannot be without looking at other segments.
	le.PutUint32(b[20:], uint32(nid))
	if inodeSize(n.size, n.nlink) == compactSize {
		le.PutUint16(b[0:], format)
		le.PutUint16(b[6:], uint16(n.nlink))
		le.PutUint32(b[8:], uint32(n.size))
		return compactSize
	}
	le.PutUint16(b[0:], format|formExtended)
	le.PutUint64(b[8:], uint64(n.size))
	le.PutUint64(b[32:], buildTime)
	le.PutUint32(b[44:], n.nlink)
	return extendedSize
}

// blocksFor returns how many blocks size bytes take.
func blocksFor(size int64) int64 { return (size + blockSize - 1) >> blockBits }
