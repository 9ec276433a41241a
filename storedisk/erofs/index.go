package erofs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
)

// An Index says what is in an image and where, so that [Update] need not look.
// It is bound to the image it was returned with, to copies of it, and to the
// host's present boot. See the package comment for when to keep one.
type Index struct {
	boot   [16]byte // when the image was written
	layout Layout
	blocks uint32            // size of the image
	head   uint32            // first block for segments
	root   uint32            // blocks of the root directory
	sum    [sha256.Size]byte // of the superblock and root directory
	segs   []*segment        // by name, without source and tree
}

func newIndex(segs []*segment, p *plan, o Options, head []byte) *Index {
	x := &Index{
		boot:   bootID(),
		layout: o.Layout,
		blocks: p.blocks,
		head:   p.headEnd,
		root:   uint32(blocksFor(p.rootSize)),
		sum:    sha256.Sum256(head),
		segs:   make([]*segment, len(segs)),
	}
	for i, s := range segs {
		x.segs[i] = &segment{
			Path: Path{Name: s.Name}, id: s.id, kind: s.kind,
			blocks: s.blocks, inodes: s.inodes, addr: s.addr,
		}
	}
	return x
}

// Size returns how many bytes of the image are not holes by design: what it
// takes on disk, save for holes in the sources.
func (x *Index) Size() int64 {
	n := int64(1 + x.root)
	for _, s := range x.segs {
		n += int64(s.blocks)
	}
	return n << blockBits
}

// Files returns how many files, directories and symbolic links there are.
func (x *Index) Files() int64 {
	n := int64(1)
	for _, s := range x.segs {
		n += int64(s.inodes)
	}
	return n
}

// find returns the segment of a name, or nil.
func (x *Index) find(name string) *segment {
	i, ok := slices.BinarySearchFunc(x.segs, name, byName)
	if !ok {
		return nil
	}
	return x.segs[i]
}

// check returns an ErrIndex unless x was made in this boot and describes f.
func (x *Index) check(f *os.File, o Options) error {
	boot := bootID()
	switch {
	case x.boot == [16]byte{} || x.boot != boot:
		return fmt.Errorf("%w: it was not made since the host's last start", ErrIndex)
	case x.layout != o.Layout:
		return fmt.Errorf("%w: it is of another layout", ErrIndex)
	case x.layout == Sparse && x.blocks != cmp.Or(o.space, sparseSpace):
		return fmt.Errorf("%w: it is of another size", ErrIndex)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != int64(x.blocks)<<blockBits {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrIndex, f.Name(), fi.Size(), int64(x.blocks)<<blockBits)
	}
	head := make([]byte, int64(1+x.root)<<blockBits)
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if sha256.Sum256(head) != x.sum {
		return fmt.Errorf("%w: it is not that of %s", ErrIndex, f.Name())
	}
	return nil
}

// bootID returns what identifies the host's present boot, or zeros if the host
// does not say. An index of boot zero fits nothing.
func bootID() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	_, err = hex.Decode(id[:], bytes.ReplaceAll(bytes.TrimSpace(b), []byte("-"), nil))
	if err != nil {
		return [16]byte{}
	}
	return id
}
