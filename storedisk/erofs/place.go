package erofs

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	// sparseSpace is the size of a sparse image in blocks: 1 TiB. Block
	// numbers would allow 16 TiB, but this is large enough for 2,500 paths
	// to hardly ever collide and every file system that has holes takes it.
	sparseSpace = 1 << 28

	// sparseHead is the room for the superblock and the root directory in a
	// sparse image: 1 MiB, about 16,000 paths. It grows by doubling, because
	// segments are addressed from its end and move when it does.
	sparseHead = 256
)

// A plan says how large the image and its head are. Where each segment goes
// stands in the segment.
type plan struct {
	blocks   uint32 // of the image
	headEnd  uint32 // first block that segments may use
	rootSize int64  // bytes of the root directory
}

// place gives every segment its address. It is a pure function of names, sizes
// and options, and the only one that decides where bytes go. segs are sorted
// by name.
func place(segs []*segment, o Options) (*plan, error) {
	ents := make([]dirent, 0, len(segs)+2)
	for _, s := range segs {
		ents = append(ents, dirent{name: s.Name})
	}
	p := &plan{rootSize: dirSize(withDots(ents, 0, 0))}
	head := 1 + blocksFor(p.rootSize)
	if o.Layout == Packed {
		return p, p.pack(segs, head)
	}
	p.blocks = cmp.Or(o.space, sparseSpace)
	end := int64(sparseHead)
	for end < head {
		end *= 2
	}
	if end >= int64(p.blocks) {
		return nil, fmt.Errorf("root directory of %d entries: %w", len(segs), ErrNoSpace)
	}
	p.headEnd = uint32(end)
	return p, p.scatter(segs)
}

// pack puts segments one behind the other.
func (p *plan) pack(segs []*segment, head int64) error {
	at := head
	for _, s := range segs {
		if at > math.MaxUint32 {
			break
		}
		s.addr = uint32(at)
		at += int64(s.blocks)
	}
	if at > math.MaxUint32 {
		return fmt.Errorf("%d segments: %w", len(segs), ErrNoSpace)
	}
	p.headEnd, p.blocks = uint32(head), uint32(at)
	return nil
}

// scatter puts each segment at the address that its name hashes to, or at the
// first gap behind it that is large enough, going round at the end. Large
// segments choose first, so that a new one can only push smaller ones away.
func (p *plan) scatter(segs []*segment) error {
	order := slices.Clone(segs)
	slices.SortFunc(order, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(b.blocks, a.blocks), cmp.Compare(a.Name, b.Name))
	})
	placed := make([]*segment, 0, len(order)) // by address
	for _, s := range order {
		if int64(s.blocks) > int64(p.blocks-p.headEnd) {
			return fmt.Errorf("%s has %d blocks: %w", s.Name, s.blocks, ErrNoSpace)
		}
		sum := sha256.Sum256([]byte(s.Name))
		places := uint64(p.blocks - p.headEnd - s.blocks + 1)
		want := p.headEnd + uint32(binary.BigEndian.Uint64(sum[:])%places)

		i, ok := p.firstFit(placed, s, want)
		if !ok {
			i, ok = p.firstFit(placed, s, p.headEnd)
		}
		if !ok {
			return fmt.Errorf("%s has %d blocks: %w", s.Name, s.blocks, ErrNoSpace)
		}
		placed = slices.Insert(placed, i, s)
	}
	return nil
}

// firstFit sets s.addr to the lowest free address at or above from, and
// returns where in placed s then belongs.
func (p *plan) firstFit(placed []*segment, s *segment, from uint32) (int, bool) {
	i, _ := slices.BinarySearchFunc(placed, from, func(t *segment, addr uint32) int {
		return cmp.Compare(t.addr, addr)
	})
	at := from
	if i > 0 {
		at = max(at, placed[i-1].end())
	}
	for ; i < len(placed) && placed[i].addr-at < s.blocks; i++ {
		at = placed[i].end()
	}
	if s.blocks > p.blocks-at {
		return 0, false
	}
	s.addr = at
	return i, true
}
