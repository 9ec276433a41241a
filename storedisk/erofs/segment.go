package erofs

import (
	"fmt"
	"math"
	"slices"
)

const (
	// A piece is closed, and the next one starts a new block of inodes, when
	// it has this much. That lets several writers share a large segment.
	pieceData = 4 << 20
	pieceMeta = 256 << 10

	// spanSize is how much of one file's data a writer copies by itself; a
	// file that is larger is shared too.
	spanSize = 32 << 20
)

// A segment is one store path in the image: blocks of inodes, then blocks of
// data.
type segment struct {
	Path
	id     identity
	kind   kind
	blocks uint32 // its size
	inodes uint32
	addr   uint32 // its first block, set by place
	tree   *tree  // nil if an index says all the rest
}

// end returns the first block behind s.
func (s *segment) end() uint32 { return s.addr + s.blocks }

// nid returns the number of the inode that the root directory names: a segment
// starts with it.
func (s *segment) nid() uint64 { return uint64(s.addr) * slotsPerBlock }

// A tree is a store path as scan found it: the nodes in breadth-first order,
// so that the entries of a directory follow each other, sorted by name.
type tree struct {
	source string
	dev    uint64
	nodes  []node
	pieces []piece
}

// A node is one file, directory or symbolic link.
type node struct {
	name   string // empty for the root
	target string // of a symbolic link
	size   int64  // bytes of content, as stored: a directory's is ours
	parent int32
	first  int32 // of a directory: its entries are nodes[first : first+count]
	count  int32
	nlink  uint32
	slot   uint32 // where its inode is in the segment
	block  uint32 // where its data starts in the segment
	perm   uint16
	kind   kind
	inline bool
	holes  bool // the host has fewer blocks than size needs
}

// A piece is the part of a segment that one writer makes: the inodes and data
// of some nodes, or a span of one large file's data.
type piece struct {
	from, to int32 // nodes[from:to]
	slots    [2]uint32
	span     int64 // if not 0, only this file's data from here on
}

// stored returns how many bytes of n's content lie in data blocks of their
// own. The rest stands behind the inode.
func (n *node) stored() int64 {
	if n.inline {
		return n.size &^ (blockSize - 1)
	}
	return n.size
}

// layout gives every node its place in the segment, cuts the work of writing it
// into pieces, and returns the segment's size in blocks. It looks at nothing
// but the nodes, whose order it keeps for data and, nearly, for inodes.
func (t *tree) layout() (uint32, error) {
	var data, openData int64 // blocks of data so far, and when the open piece began
	var open piece
	var inodes shelf
	closePiece := func(next int) {
		open.to, open.slots[1] = int32(next), inodes.end()
		t.pieces = append(t.pieces, open)
		inodes.advance()
		open, openData = piece{from: int32(next), slots: [2]uint32{inodes.first}}, data
	}
	var spans []piece
	var ents []dirent
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.kind == kindDir {
			ents = t.dirents(ents[:0], n)
			n.size = dirSize(ents)
		}
		size := inodeSize(n.size, n.nlink)
		if tail := int(n.size % blockSize); tail > 0 && size+tail <= blockSize {
			n.inline = true
			size += tail
		}
		if (data-openData)<<blockBits >= pieceData || (inodes.end()-open.slots[0])*slotSize >= pieceMeta {
			closePiece(i)
		}
		n.slot = inodes.put(size)
		if blocks := blocksFor(n.stored()); blocks > 0 {
			n.block = uint32(data)
			data += blocks
		}
		if inodes.end() > math.MaxUint32-slotsPerBlock || int64(inodes.end()/slotsPerBlock)+data > math.MaxUint32 {
			return 0, fmt.Errorf("%s: %w", t.source, ErrNoSpace)
		}
		if n.kind == kindFile {
			for off := int64(spanSize); off < n.stored(); off += spanSize {
				spans = append(spans, piece{from: int32(i), to: int32(i) + 1, span: off})
			}
		}
	}
	closePiece(len(t.nodes))
	t.pieces = append(t.pieces, spans...)

	meta := inodes.first / slotsPerBlock
	for i := range t.nodes {
		if n := &t.nodes[i]; n.stored() > 0 {
			n.block += meta
		}
	}
	return meta + uint32(data), nil
}

// A shelf hands out room for inodes, each inside one block, in the first block
// that has room for it. Tails of all sizes would otherwise leave a quarter of
// the blocks empty.
type shelf struct {
	first uint32   // slot where the first of its blocks is
	used  []uint32 // slots, by block
}

// put returns the slot of an inode of size bytes, at most a block.
func (h *shelf) put(size int) uint32 {
	need := uint32((size + slotSize - 1) / slotSize)
	i := slices.IndexFunc(h.used, func(used uint32) bool { return used+need <= slotsPerBlock })
	if i < 0 {
		i = len(h.used)
		h.used = append(h.used, 0)
	}
	slot := h.first + uint32(i)*slotsPerBlock + h.used[i]
	h.used[i] += need
	return slot
}

// end returns the slot behind the last block.
func (h *shelf) end() uint32 { return h.first + uint32(len(h.used))*slotsPerBlock }

// advance leaves the blocks as they are and goes on behind them.
func (h *shelf) advance() { h.first, h.used = h.end(), h.used[:0] }

// dirents appends the entries of directory n, with inode numbers as if the
// segment were at block 0.
func (t *tree) dirents(ents []dirent, n *node) []dirent {
	for i := n.first; i < n.first+n.count; i++ {
		c := &t.nodes[i]
		ents = append(ents, dirent{c.name, uint64(c.slot), c.kind})
	}
	return withDots(ents, uint64(n.slot), uint64(t.nodes[n.parent].slot))
}

// path returns where node i is on the host.
func (t *tree) path(i int32) string {
	if i == 0 {
		return t.source
	}
	size := len(t.source)
	for j := i; j != 0; j = t.nodes[j].parent {
		size += 1 + len(t.nodes[j].name)
	}
	b := make([]byte, size)
	copy(b, t.source)
	for j := i; j != 0; j = t.nodes[j].parent {
		name := t.nodes[j].name
		size -= len(name)
		copy(b[size:], name)
		size--
		b[size] = '/'
	}
	return string(b)
}
