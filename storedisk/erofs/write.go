package erofs

import (
	"context"
	"os"
	"sync"
)

// writeSegments writes every segment that has a tree to its address.
func writeSegments(ctx context.Context, f *os.File, segs []*segment, o Options) error {
	type job struct {
		s *segment
		p *piece
	}
	var jobs []job
	var total int64
	for _, s := range segs {
		if s.tree == nil {
			continue
		}
		total += int64(s.blocks) << blockBits
		for i := range s.tree.pieces {
			jobs = append(jobs, job{s, &s.tree.pieces[i]})
		}
	}
	progress := counter{total: total, report: o.Progress}
	clones := newCloner(f)
	return parallel(ctx, o.jobs(), len(jobs), func(ctx context.Context, next func() (int, bool)) error {
		w := writer{stage: newStage(f), clones: clones, dir: dirHandle{fd: -1}}
		defer w.dir.close()
		for i, ok := next(); ok; i, ok = next() {
			n, err := w.piece(ctx, jobs[i].s, jobs[i].p)
			if err != nil {
				return err
			}
			progress.add(n)
		}
		return nil
	})
}

// A counter adds up what several writers have done.
type counter struct {
	mu          sync.Mutex
	done, total int64
	report      func(done, total int64)
}

func (c *counter) add(n int64) {
	if c.report == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	c.report(c.done, c.total)
}

// A writer writes pieces, one after the other. It has at most one directory
// and one file open. Its buffers hold one piece's inodes, one directory's
// entries and one stage, however large the segment is.
type writer struct {
	stage
	meta    []byte
	ents    []dirent
	content []byte
	clones  *cloner
	dir     dirHandle
}

// piece writes p of s, and returns how many bytes of the segment that were.
func (w *writer) piece(ctx context.Context, s *segment, p *piece) (int64, error) {
	w.dir.of(s.tree)
	nodes := s.tree.nodes
	if p.span > 0 {
		n := &nodes[p.from]
		if err := w.span(ctx, s, p.from, p.span); err != nil {
			return 0, err
		}
		return min(spanSize, blocksFor(n.stored())<<blockBits-p.span), w.flush()
	}

	size := int(p.slots[1]-p.slots[0]) * slotSize
	if cap(w.meta) < size {
		w.meta = make([]byte, size)
	}
	w.meta = w.meta[:size]
	clear(w.meta)
	done := int64(size)
	for i := p.from; i < p.to; i++ {
		n := &nodes[i]
		if err := w.node(ctx, s, i, w.meta[(n.slot-p.slots[0])*slotSize:]); err != nil {
			return 0, err
		}
		done += min(spanSize, blocksFor(n.stored())<<blockBits)
	}
	if _, err := w.f.WriteAt(w.meta, int64(s.addr)<<blockBits+int64(p.slots[0])*slotSize); err != nil {
		return 0, err
	}
	return done, w.flush()
}

// node writes the inode of node i, and what stands behind it, to b, and gathers
// its data.
func (w *writer) node(ctx context.Context, s *segment, i int32, b []byte) error {
	n := &s.tree.nodes[i]
	in := inode{kind: n.kind, perm: n.perm, nlink: n.nlink, size: n.size, inline: n.inline}
	stored := n.stored()
	if stored > 0 {
		in.block = s.addr + n.block
	}
	behind := b[in.put(b, s.nid()+uint64(n.slot)):]

	switch n.kind {
	case kindFile:
		return w.file(ctx, s, i, behind)
	case kindSymlink:
		w.content = append(w.content[:0], n.target...)
	case kindDir:
		w.directory(s, n)
	}
	if stored > 0 {
		if err := w.seek(s.offset(n)); err != nil {
			return err
		}
		if err := w.write(w.content[:stored]); err != nil {
			return err
		}
		w.pad()
	}
	copy(behind, w.content[stored:])
	return nil
}

// directory sets w.content to the content of directory n.
func (w *writer) directory(s *segment, n *node) {
	w.ents = s.tree.dirents(w.ents[:0], n)
	base := s.nid()
	for i := range w.ents {
		e := &w.ents[i]
		e.nid += base
		if e.name == ".." && n == &s.tree.nodes[0] {
			e.nid = rootNid
		}
	}
	w.content = appendDir(w.content[:0], w.ents)
}

// offset returns where n's data are in the image.
func (s *segment) offset(n *node) int64 { return int64(s.addr+n.block) << blockBits }
