package erofs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives the empty file f the size of the planned image.
func allocate(f *os.File, p *plan, l Layout) error {
	if l == Sparse {
		// An update will have to punch holes. Ask now, and before the file
		// grows: a file system without holes would allocate all of it.
		if err := punch(f, 0, 1); err != nil {
			return err
		}
	}
	err := f.Truncate(int64(p.blocks) << blockBits)
	if l == Sparse && errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", ErrNotSparse, err)
	}
	return err
}

// punch makes blocks from to end read as zeros and take no room.
func punch(f *os.File, from, end uint32) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	err := retry(func() error {
		return unix.Fallocate(int(f.Fd()), mode, int64(from)<<blockBits, int64(end-from)<<blockBits)
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %w", ErrNotSparse, &os.PathError{Op: "punch hole in", Path: f.Name(), Err: err})
	}
	return &os.PathError{Op: "punch hole in", Path: f.Name(), Err: err}
}

// head returns the start of the image: block 0 with the superblock and the root
// inode, and the root directory. segs are sorted by name and placed.
func (p *plan) head(segs []*segment, o Options) []byte {
	ents := make([]dirent, 0, len(segs)+2)
	sb := super{label: o.Label, uuid: o.UUID, inodes: 1, blocks: p.blocks}
	root := inode{kind: kindDir, perm: 0o755, nlink: 2, size: p.rootSize, block: 1}
	for _, s := range segs {
		ents = append(ents, dirent{s.Name, s.nid(), s.kind})
		sb.inodes += uint64(s.inodes)
		if s.kind == kindDir {
			root.nlink++
		}
	}
	b := make([]byte, blockSize, (1+blocksFor(p.rootSize))<<blockBits)
	root.put(b[rootNid*slotSize:], rootNid)
	sb.put(b[:blockSize])
	b = appendDir(b, withDots(ents, rootNid, rootNid))
	return b[:cap(b)]
}

// writeHead writes the head, the superblock last.
func writeHead(f *os.File, head []byte) error {
	if _, err := f.WriteAt(head[blockSize:], blockSize); err != nil {
		return err
	}
	_, err := f.WriteAt(head[:blockSize], 0)
	return err
}
