package erofs

import "fmt"

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

// rootNid returns the number of the inode that the root directory names: a
// segment starts with it.
func (s *segment) rootNid() uint64 { return uint64(s.addr) * slotsPerBlock }

// A tree is a store path as scan found it: the nodes in breadth-first order,
// so that the entries of a directory follow each other, sorted by name.
type tree struct {
	source string
	dev    uint64
	nodes  []node
	pieces []piece

	meta uint32 // blocks of inodes
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

// layout gives every node its place in the segment, and returns the segment's
// size in blocks. It looks at nothing but the nodes.
func (t *tree) layout() (uint32, error) {
	var slot uint32 // next free
	var data int64  // blocks so far
	var open piece
	var openData int64 // where open's data starts
	closePiece := func(i int) {
		open.to, open.slots[1] = int32(i), slot
		t.pieces = append(t.pieces, open)
		open = piece{from: int32(i)}
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
		tail := int(n.size % blockSize)
		n.inline = tail > 0 && size+tail <= blockSize
		if n.inline {
			size += tail
		}

		used := int(slot % slotsPerBlock * slotSize)
		full := (data-openData)<<blockBits >= pieceData || (slot-open.slots[0])*slotSize >= pieceMeta
		if used > 0 && (full || used+size > blockSize) {
			slot += slotsPerBlock - slot%slotsPerBlock
		}
		if full {
			closePiece(i)
			open.slots[0], openData = slot, data
		}
		n.slot = slot
		slot += uint32((size + slotSize - 1) / slotSize)
		if blocks := blocksFor(n.stored()); blocks > 0 {
			n.block = uint32(data)
			data += blocks
		}
		if n.kind == kindFile {
			for off := int64(spanSize); off < n.stored(); off += spanSize {
				spans = append(spans, piece{from: int32(i), to: int32(i) + 1, span: off})
			}
		}
		if data > 1<<32-1 {
			return 0, fmt.Errorf("%s: %w", t.source, ErrNoSpace)
		}
	}
	slot = (slot + slotsPerBlock - 1) / slotsPerBlock * slotsPerBlock
	closePiece(len(t.nodes))
	t.pieces = append(t.pieces, spans...)

	t.meta = slot / slotsPerBlock
	total := int64(t.meta) + data
	if total > 1<<32-1 {
		return 0, fmt.Errorf("%s: %w", t.source, ErrNoSpace)
	}
	for i := range t.nodes {
		if n := &t.nodes[i]; n.stored() > 0 {
			n.block += t.meta
		}
	}
	return uint32(total), nil
}

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
