package erofs

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
)

// indexMagic starts an encoded index. The number is the version of all that
// follows and of the image's format and placement: a change to any of them
// must change it, or else an update would mix two.
const indexMagic = "mvm erofs index 1\n"

var (
	_ encoding.BinaryMarshaler   = (*Index)(nil)
	_ encoding.BinaryUnmarshaler = (*Index)(nil)
)

// Sizes of what an encoded index consists of.
const (
	indexHead  = len(indexMagic) + 16 + 4*4 + sha256.Size + 4
	indexEntry = 1 + 1 + 5*8 + 2*4 + 3*4 // and the name
)

// MarshalBinary encodes x, with a digest over all of it at the end.
func (x *Index) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, indexHead+len(x.segs)*(indexEntry+64)+sha256.Size)
	b = append(b, indexMagic...)
	b = append(b, x.boot[:]...)
	b = le.AppendUint32(b, uint32(x.layout))
	b = le.AppendUint32(b, x.blocks)
	b = le.AppendUint32(b, x.head)
	b = le.AppendUint32(b, x.root)
	b = append(b, x.sum[:]...)
	b = le.AppendUint32(b, uint32(len(x.segs)))
	for _, s := range x.segs {
		b = append(b, byte(len(s.Name)))
		b = append(b, s.Name...)
		b = append(b, byte(s.kind))
		for _, v := range []uint64{s.id.Dev, s.id.Ino, uint64(s.id.Sec), uint64(s.id.Nsec), uint64(s.id.Size)} {
			b = le.AppendUint64(b, v)
		}
		for _, v := range []uint32{s.id.Mode, s.id.Fresh, s.blocks, s.inodes, s.addr} {
			b = le.AppendUint32(b, v)
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// UnmarshalBinary decodes what MarshalBinary made. Anything else is an
// [ErrIndex], and so is an index that contradicts itself.
func (x *Index) UnmarshalBinary(b []byte) error {
	if !bytes.HasPrefix(b, []byte(indexMagic)) {
		return fmt.Errorf("%w: it is of another version", ErrIndex)
	}
	if len(b) < indexHead+sha256.Size {
		return fmt.Errorf("%w: it is cut short", ErrIndex)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return fmt.Errorf("%w: its digest is wrong", ErrIndex)
	}
	var y Index
	if err := y.decode(body[len(indexMagic):]); err != nil {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	*x = y
	return nil
}

// decode decodes what is between the magic and the digest: at least the part
// before the entries.
func (x *Index) decode(b []byte) error {
	u32 := func() uint32 {
		v := le.Uint32(b)
		b = b[4:]
		return v
	}
	u64 := func() uint64 {
		v := le.Uint64(b)
		b = b[8:]
		return v
	}
	b = b[copy(x.boot[:], b):]
	x.layout = Layout(u32())
	x.blocks, x.head, x.root = u32(), u32(), u32()
	b = b[copy(x.sum[:], b):]
	count := int(u32())
	if count > len(b)/indexEntry {
		return errors.New("it has fewer entries than it says")
	}
	x.segs = make([]*segment, 0, count)
	for range count {
		if len(b) < indexEntry || len(b) < indexEntry+int(b[0]) {
			return errors.New("an entry is cut short")
		}
		s := &segment{Path: Path{Name: string(b[1 : 1+b[0]])}}
		b = b[1+len(s.Name):]
		s.kind = kind(b[0])
		b = b[1:]
		s.id = identity{Dev: u64(), Ino: u64(), Sec: int64(u64()), Nsec: int64(u64()), Size: int64(u64())}
		s.id.Mode, s.id.Fresh = u32(), u32()
		s.blocks, s.inodes, s.addr = u32(), u32(), u32()
		x.segs = append(x.segs, s)
	}
	if len(b) != 0 {
		return errors.New("something follows its last entry")
	}
	return x.consistent()
}

// consistent checks what Update relies on when it frees and keeps blocks.
func (x *Index) consistent() error {
	if x.layout != Sparse && x.layout != Packed {
		return fmt.Errorf("layout %d is unknown", x.layout)
	}
	if x.root == 0 || x.head <= x.root || x.head > x.blocks {
		return errors.New("its head does not fit")
	}
	for i, s := range x.segs {
		if err := checkName(s.Name); err != nil {
			return err
		}
		if i > 0 && x.segs[i-1].Name >= s.Name {
			return fmt.Errorf("entry %q is out of order", s.Name)
		}
		if s.kind != kindFile && s.kind != kindDir && s.kind != kindSymlink {
			return fmt.Errorf("entry %q is of kind %d", s.Name, s.kind)
		}
		if s.blocks == 0 || s.inodes == 0 || s.addr < x.head || s.addr > x.blocks || s.blocks > x.blocks-s.addr {
			return fmt.Errorf("entry %q lies outside the image", s.Name)
		}
	}
	at := x.head
	for _, s := range byAddress(x.segs) {
		if s.addr < at {
			return fmt.Errorf("entry %q overlaps another", s.Name)
		}
		at = s.end()
	}
	return nil
}
