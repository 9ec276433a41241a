package erofs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"os"
	"slices"
)

// UpdateStats says what an update did.
type UpdateStats struct {
	Kept    int   // paths whose blocks were left alone
	Written int   // paths that are new or changed
	Moved   int   // unchanged paths that had to make room for others
	Removed int   // paths that are gone
	Bytes   int64 // of segments written
	Full    bool  // the image was written anew
}

// Update turns the image in f, which old describes, into the image that Build
// would make of paths, and returns its index. If paths and options are those of
// old, it changes nothing, not even f's times.
//
// A packed image is not edited but, if it must change, written anew.
//
// [ErrIndex], [ErrInUse] and errors about paths that are read before the first
// change leave f alone. After any other error, or if the process dies, f is not
// an image any more. The package comment says what a caller must do so that it
// is never taken for one, and which sources may be updated from.
//
// While it runs, Update holds a lock that keeps QEMU from opening f. Other
// updates of f must be kept away by the caller.
func Update(ctx context.Context, f *os.File, old *Index, paths []Path, o Options) (*Index, UpdateStats, error) {
	var stats UpdateStats
	if err := o.check(); err != nil {
		return nil, stats, err
	}
	paths, err := sortPaths(paths)
	if err != nil {
		return nil, stats, err
	}
	unlock, err := lockOut(f)
	if err != nil {
		return nil, stats, err
	}
	defer unlock()
	if err := old.check(f, o); err != nil {
		return nil, stats, err
	}
	segs, err := reuse(old, paths)
	if err != nil {
		return nil, stats, err
	}
	plan, err := arrange(ctx, old, segs, o)
	if err != nil {
		return nil, stats, err
	}

	stats = compare(old, segs, o)
	head := plan.head(segs, o)
	switch {
	case stats.Written+stats.Moved+stats.Removed == 0:
		err = old.rewriteHead(f, head)
	case o.Layout == Packed:
		if err := f.Truncate(0); err != nil {
			return nil, stats, err
		}
		x, err := Build(ctx, f, paths, o)
		return x, stats, err
	default:
		err = old.edit(ctx, f, segs, head, o)
	}
	if err != nil {
		return nil, stats, err
	}
	return newIndex(segs, plan, o, head), stats, nil
}

// reuse returns the segments of paths, sorted by name. Those that old has and
// that have not changed are filled in; the others have yet to be scanned.
func reuse(old *Index, paths []Path) ([]*segment, error) {
	segs := make([]*segment, len(paths))
	for i, p := range paths {
		s := &segment{Path: p}
		segs[i] = s
		id, err := identifyPath(p.Source)
		if err != nil {
			return nil, err
		}
		if t := old.find(p.Name); t != nil && t.id.same(id) {
			s.id, s.kind, s.blocks, s.inodes = t.id, t.kind, t.blocks, t.inodes
		}
	}
	return segs, nil
}

// arrange scans what has to be written and places everything. A segment that
// must move is scanned too: its blocks are full of addresses, so it is written
// again from its source.
func arrange(ctx context.Context, old *Index, segs []*segment, o Options) (*plan, error) {
	for {
		var todo []*segment
		for _, s := range segs {
			if s.blocks == 0 {
				todo = append(todo, s)
			}
		}
		if err := scanAll(ctx, todo, o.jobs()); err != nil {
			return nil, err
		}
		plan, err := place(segs, o)
		if err != nil {
			return nil, err
		}
		again := false
		for _, s := range segs {
			if s.tree == nil && old.find(s.Name).addr != s.addr {
				s.blocks, again = 0, true
			}
		}
		if !again {
			return plan, nil
		}
	}
}

// compare counts what will be done to the image of old to make it one of segs.
func compare(old *Index, segs []*segment, o Options) UpdateStats {
	st := UpdateStats{Removed: len(old.segs)}
	for _, s := range segs {
		t := old.find(s.Name)
		if t != nil {
			st.Removed--
		}
		switch {
		case s.tree == nil:
			st.Kept++
			continue
		case t != nil && t.id.same(s.id):
			st.Moved++
		default:
			st.Written++
		}
		st.Bytes += int64(s.blocks) << blockBits
	}
	if o.Layout == Packed && st.Written+st.Moved+st.Removed > 0 {
		st.Full = true
		st.Written, st.Kept, st.Moved, st.Bytes = len(segs), 0, 0, 0
		for _, s := range segs {
			st.Bytes += int64(s.blocks) << blockBits
		}
	}
	return st
}

// edit brings the image in f from old to segs. Those with a tree are written,
// those without are where they were.
func (old *Index) edit(ctx context.Context, f *os.File, segs []*segment, head []byte, o Options) error {
	if _, err := f.WriteAt(make([]byte, blockSize), 0); err != nil {
		return err
	}
	// Whatever is not kept goes first, so that what is written over it finds
	// zeros: holes in a source are not written.
	for _, t := range old.segs {
		i, ok := slices.BinarySearchFunc(segs, t.Name, byName)
		if ok && segs[i].tree == nil {
			continue
		}
		if err := punch(f, t.addr, t.end()); err != nil {
			return err
		}
	}
	if err := writeSegments(ctx, f, segs, o); err != nil {
		return err
	}
	if is, was := uint32(len(head)>>blockBits), 1+old.root; is < was {
		if err := punch(f, is, was); err != nil {
			return err
		}
	}
	return writeHead(f, head)
}

// rewriteHead writes the head if it differs, as when only the label does.
func (old *Index) rewriteHead(f *os.File, head []byte) error {
	if sha256.Sum256(head) == old.sum {
		return nil
	}
	return writeHead(f, head)
}

// byName compares a segment's name, for searching segments sorted by name.
func byName(s *segment, name string) int { return cmp.Compare(s.Name, name) }

// byAddress returns segs in the order of their addresses.
func byAddress(segs []*segment) []*segment {
	return slices.SortedFunc(slices.Values(segs), func(a, b *segment) int { return cmp.Compare(a.addr, b.addr) })
}
