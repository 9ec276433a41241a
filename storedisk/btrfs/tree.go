package btrfs

import (
	"fmt"
	"hash/crc32"
	"io"
)

// An image is a file being filled with tree blocks.
type image struct {
	w      io.WriterAt // nil to write nothing
	fsid   [16]byte
	chunks [16]byte // UUID of the chunk tree
	next   uint64   // where the next block goes
	blocks []block  // in the order of their addresses, but for reserved ones
}

// A block is a tree block that was written.
type block struct {
	addr, owner uint64
	level       uint8
}

// alloc returns the address of the next block.
func (im *image) alloc() uint64 {
	addr := skip(im.next, nodeSize)
	im.next = addr + nodeSize
	return addr
}

// write fills in the header of b, a whole block, and writes it to addr.
func (im *image) write(b []byte, addr, owner uint64, level uint8, items int) error {
	const written, mixedBackrefs = 1, 1 << 56
	if im.w == nil {
		return nil
	}
	copy(b[32:], im.fsid[:])
	le.PutUint64(b[48:], addr)
	le.PutUint64(b[56:], written|mixedBackrefs)
	copy(b[64:], im.chunks[:])
	le.PutUint64(b[80:], generation)
	le.PutUint64(b[88:], owner)
	le.PutUint32(b[96:], uint32(items))
	b[100] = level
	clear(b[:32])
	le.PutUint32(b, crc32.Checksum(b[32:], castagnoli))
	_, err := im.w.WriteAt(b, int64(addr))
	return err
}

// A tree is written from left to right: its items come in the order of their
// keys, and a full leaf is written at once. Inner nodes follow at the end.
type tree struct {
	im     *image
	owner  uint64
	at     uint64 // where the only leaf goes, if that was reserved
	last   key
	leaf   []byte
	items  int
	space  int // that is free in the leaf
	levels [][]pointer
}

// A pointer leads to a block that begins with a key.
type pointer struct {
	key  key
	addr uint64
}

func (im *image) tree(owner uint64) *tree { return &tree{im: im, owner: owner} }

// add appends an item. The data is copied.
func (t *tree) add(k key, data []byte) error {
	if t.last != (key{}) && !t.last.before(k) {
		return fmt.Errorf("btrfs tree %d: item %v follows %v", t.owner, k, t.last)
	}
	t.last = k
	if t.items > 0 && t.space < itemSize+len(data) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if t.items == 0 {
		t.leaf, t.space = make([]byte, nodeSize), leafSpace
		if t.levels == nil {
			t.levels = make([][]pointer, 1)
		}
		t.levels[0] = append(t.levels[0], pointer{key: k})
	}
	// Heads grow from the front, data from the end.
	head := headerSize + t.items*itemSize
	end := head + t.space
	at := end - len(data)
	copy(t.leaf[at:], data)
	k.append(t.leaf[head:head:nodeSize])
	le.PutUint32(t.leaf[head+17:], uint32(at-headerSize))
	le.PutUint32(t.leaf[head+21:], uint32(len(data)))
	t.items++
	t.space -= itemSize + len(data)
	return nil
}

// flush writes the leaf.
func (t *tree) flush() error {
	addr := t.at
	if addr == 0 {
		addr = t.im.alloc()
		t.im.blocks = append(t.im.blocks, block{addr, t.owner, 0})
	}
	t.levels[0][len(t.levels[0])-1].addr = addr
	err := t.im.write(t.leaf, addr, t.owner, 0, t.items)
	t.items = 0
	return err
}

// finish writes what is left and returns the root's address and level.
func (t *tree) finish() (addr uint64, level uint8, err error) {
	if t.levels == nil { // a leaf without items
		t.leaf, t.levels = make([]byte, nodeSize), [][]pointer{{{}}}
		t.items = 0
		if err := t.flush(); err != nil {
			return 0, 0, err
		}
	}
	if t.items > 0 {
		if err := t.flush(); err != nil {
			return 0, 0, err
		}
	}
	for len(t.levels[level]) > 1 {
		if err := t.raise(level + 1); err != nil {
			return 0, 0, err
		}
		level++
	}
	return t.levels[level][0].addr, level, nil
}

// raise writes the nodes of a level over the level below it.
func (t *tree) raise(level uint8) error {
	below := t.levels[level-1]
	var ps []pointer
	for len(below) > 0 {
		n := min(len(below), maxPointers)
		b := make([]byte, headerSize, nodeSize)
		for _, p := range below[:n] {
			b = p.key.append(b)
			b = appendU64s(b, p.addr, generation)
		}
		addr := t.im.alloc()
		t.im.blocks = append(t.im.blocks, block{addr, t.owner, level})
		if err := t.im.write(b[:nodeSize], addr, t.owner, level, n); err != nil {
			return err
		}
		ps = append(ps, pointer{below[0].key, addr})
		below = below[n:]
	}
	t.levels = append(t.levels, ps)
	return nil
}

// root returns the root of a tree that was reserved.
func (t *tree) root() root { return root{id: t.owner, addr: t.at} }

// reserve sets aside the address of a tree that will fit in one leaf, and
// whose content is only known later.
func (im *image) reserve(owner uint64) *tree {
	t := &tree{im: im, owner: owner, at: im.alloc()}
	im.blocks = append(im.blocks, block{t.at, owner, 0})
	return t
}
