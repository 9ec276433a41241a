package erofs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// holesMin is the smallest file whose holes are looked for. Reading the zeros of
// a smaller one is quicker than asking, and it fits in the stage.
const holesMin = stageSize

// file gathers the data of file node i, or of its first span if it is large,
// and puts the tail behind its inode if it belongs there.
func (w *writer) file(ctx context.Context, s *segment, i int32, behind []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	t, n := s.tree, &s.tree.nodes[i]
	fd, err := w.dir.open(t, i)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	stored := n.stored()
	if stored > 0 {
		if err := w.seek(s.offset(n)); err != nil {
			return err
		}
	}
	if n.size < stageSize && !w.clones.useful(t.dev, stored) {
		return w.small(t, i, fd, behind)
	}
	if err := w.copyRange(ctx, s, i, fd, 0, min(stored, spanSize)); err != nil {
		return err
	}
	if n.inline {
		tail := behind[:n.size-stored]
		if got, err := pread(fd, tail, stored); err != nil {
			return t.readError(i, err)
		} else if got < len(tail) {
			return t.changed(i)
		}
	}
	return t.check(i, fd)
}

// span gathers the data of file node i from off on, for one span.
func (w *writer) span(ctx context.Context, s *segment, i int32, off int64) error {
	t, n := s.tree, &s.tree.nodes[i]
	fd, err := w.dir.open(t, i)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.copyRange(ctx, s, i, fd, off, min(off+spanSize, n.stored())); err != nil {
		return err
	}
	return t.check(i, fd)
}

// small reads all of a file that fits in the stage, with one call as a rule:
// room for one byte more than there should be shows the end of the file.
func (w *writer) small(t *tree, i int32, fd int, behind []byte) error {
	n := &t.nodes[i]
	room, err := w.room(int(n.size) + 1)
	if err != nil {
		return err
	}
	room = room[:n.size+1]
	got := 0
	for {
		k, err := pread(fd, room[got:], int64(got))
		if err != nil {
			return t.readError(i, err)
		}
		if got += k; k == 0 || int64(got) >= n.size {
			break
		}
	}
	if int64(got) != n.size {
		return t.changed(i)
	}
	w.n += int(n.stored())
	if n.inline {
		copy(behind, room[n.stored():n.size])
		return nil
	}
	w.pad()
	return nil
}

// copyRange brings bytes from to to of file node i, which is open as fd, into
// the image. Holes stay holes: what is under them there reads as zeros already.
func (w *writer) copyRange(ctx context.Context, s *segment, i int32, fd int, from, to int64) error {
	t, n := s.tree, &s.tree.nodes[i]
	// Only a file tells where its data are; a directory answers that too.
	if err := t.check(i, fd); err != nil {
		return err
	}
	start := s.offset(n)
	for from < to {
		end := to
		if n.holes {
			if from, end = nextData(fd, from, to); from >= to {
				return nil
			}
		}
		if k := w.clones.clone(fd, t.dev, start+from, from, end-from); k > 0 {
			from += k
			continue
		}
		if err := w.seek(start + from); err != nil {
			return err
		}
		for from < end {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			room, err := w.room(1)
			if err != nil {
				return err
			}
			k, err := pread(fd, room[:min(int64(len(room)), end-from)], from)
			if err != nil {
				return t.readError(i, err)
			}
			if k == 0 {
				return t.changed(i)
			}
			w.n += k
			from += int64(k)
		}
		w.pad()
	}
	return nil
}

// nextData returns the first range of whole blocks between from and to that is
// not a hole, or two times to.
func nextData(fd int, from, to int64) (int64, int64) {
	data, err := unix.Seek(fd, from, unix.SEEK_DATA)
	if err == unix.ENXIO || err == nil && data >= to {
		return to, to
	}
	if err != nil { // a file system that does not know its holes
		return from, to
	}
	end, err := unix.Seek(fd, data, unix.SEEK_HOLE)
	if err != nil {
		end = to
	}
	// A hole of the host need not start or end where a block does.
	end = blocksFor(end) << blockBits
	if end <= data {
		return from, to
	}
	return max(from, data&^(blockSize-1)), min(end, to)
}

// check returns an error if what is open as fd is not a file as long as node i
// was when it was scanned.
func (t *tree) check(i int32, fd int) error {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return &fs.PathError{Op: "stat", Path: t.path(i), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != t.nodes[i].size {
		return t.changed(i)
	}
	return nil
}

func (t *tree) readError(i int32, err error) error {
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ESPIPE) { // a directory or pipe in its place
		return t.changed(i)
	}
	return &fs.PathError{Op: "read", Path: t.path(i), Err: err}
}

func (t *tree) changed(i int32) error {
	return fmt.Errorf("%s is no longer a file of %d bytes: it changed while it was read", t.path(i), t.nodes[i].size)
}
