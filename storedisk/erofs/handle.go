package erofs

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// A dirHandle is a directory of a tree that is kept open while files of it are
// opened, which saves walking down to it for each.
type dirHandle struct {
	tree *tree
	node int32
	fd   int // -1 if none is open
}

// of closes the directory unless it belongs to t.
func (d *dirHandle) of(t *tree) {
	if d.tree != t {
		d.close()
		d.tree = t
	}
}

func (d *dirHandle) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

// open opens file node i of t.
func (d *dirHandle) open(t *tree, i int32) (int, error) {
	if i == 0 {
		return open(unix.AT_FDCWD, t, 0, t.source, 0)
	}
	n := &t.nodes[i]
	if d.fd < 0 || d.node != n.parent {
		d.close()
		fd, err := open(unix.AT_FDCWD, t, n.parent, t.path(n.parent), unix.O_DIRECTORY)
		if err != nil {
			return -1, err
		}
		d.node, d.fd = n.parent, fd
	}
	return open(d.fd, t, i, n.name, 0)
}

func open(dirfd int, t *tree, i int32, name string, flags int) (int, error) {
	fd, err := openat(dirfd, name, flags)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: t.path(i), Err: err}
	}
	return fd, nil
}
