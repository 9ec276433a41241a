package erofs

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scanAll scans every segment that has no tree yet.
func scanAll(ctx context.Context, segs []*segment, jobs int) error {
	return parallel(ctx, jobs, len(segs), func(ctx context.Context, next func() (int, bool)) error {
		var sc scanner
		for i, ok := next(); ok; i, ok = next() {
			if segs[i].tree != nil {
				continue
			}
			if err := sc.scan(ctx, segs[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// A scanner walks trees. It keeps what it can use again for the next.
type scanner struct {
	buf   []byte
	names []entry
}

// An entry is a directory entry as the host gives it.
type entry struct {
	name string
	typ  byte // unix.DT_*
}

// scan walks s.Source and lays the segment out. No file is opened.
func (sc *scanner) scan(ctx context.Context, s *segment) error {
	var st unix.Stat_t
	if err := lstat(s.Source, &st); err != nil {
		return err
	}
	s.id = identify(&st)
	t := &tree{source: s.Source, dev: st.Dev, nodes: make([]node, 1, 16)}
	if err := t.fill(0, unix.AT_FDCWD, s.Source, &st); err != nil {
		return err
	}
	for i := 0; i < len(t.nodes); i++ {
		if t.nodes[i].kind != kindDir {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := sc.readDir(t, int32(i)); err != nil {
			return err
		}
	}
	blocks, err := t.layout()
	if err != nil {
		return err
	}
	s.tree, s.kind, s.blocks, s.inodes = t, t.nodes[0].kind, blocks, uint32(len(t.nodes))
	return nil
}

// readDir appends the entries of directory node dir to the tree.
func (sc *scanner) readDir(t *tree, dir int32) error {
	path := t.path(dir)
	fd, err := openat(unix.AT_FDCWD, path, unix.O_DIRECTORY)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := sc.list(fd); err != nil {
		return &fs.PathError{Op: "readdir", Path: path, Err: err}
	}
	slices.SortFunc(sc.names, func(a, b entry) int { return strings.Compare(a.name, b.name) })

	first := len(t.nodes)
	if first+len(sc.names) > 1<<31-1 {
		return fmt.Errorf("%s: too many files", t.source)
	}
	t.nodes = slices.Grow(t.nodes, len(sc.names))
	nlink := uint32(2)
	for i, e := range sc.names {
		t.nodes = append(t.nodes, node{name: e.name, parent: dir})
		if e.typ == unix.DT_LNK {
			// The target is all there is to know: its length is the size.
			err = t.fillLink(int32(first+i), fd, e.name)
		} else {
			var st unix.Stat_t
			if err = fstatat(fd, e.name, &st); err != nil {
				err = &fs.PathError{Op: "lstat", Path: path + "/" + e.name, Err: err}
			} else {
				err = t.fill(int32(first+i), fd, e.name, &st)
			}
		}
		if err != nil {
			return err
		}
		if t.nodes[first+i].kind == kindDir {
			nlink++
		}
	}
	n := &t.nodes[dir]
	n.first, n.count, n.nlink = int32(first), int32(len(sc.names)), nlink
	return nil
}

// fill sets node i from what lstat said of name in dirfd.
func (t *tree) fill(i int32, dirfd int, name string, st *unix.Stat_t) error {
	n := &t.nodes[i]
	n.perm, n.nlink = uint16(st.Mode&0o777), 1
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.kind, n.size = kindFile, st.Size
		n.holes = st.Size >= holesMin && st.Blocks*512 < st.Size
	case unix.S_IFDIR:
		n.kind = kindDir
	case unix.S_IFLNK:
		return t.fillLink(i, dirfd, name)
	default:
		return fmt.Errorf("%s is %s: a store disk holds only files, directories and symbolic links",
			t.path(i), describe(st.Mode))
	}
	return nil
}

func (t *tree) fillLink(i int32, dirfd int, name string) error {
	n := &t.nodes[i]
	var buf [unix.PathMax + 1]byte
	size, err := unix.Readlinkat(dirfd, name, buf[:])
	if err == nil && (size == 0 || size > unix.PathMax) {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return &fs.PathError{Op: "readlink", Path: t.path(i), Err: err}
	}
	n.kind, n.perm, n.nlink = kindSymlink, 0o777, 1
	n.target, n.size = string(buf[:size]), int64(size)
	return nil
}

func describe(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return fmt.Sprintf("a file of unknown type %#o", mode&unix.S_IFMT)
}
