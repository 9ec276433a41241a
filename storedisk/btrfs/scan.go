package btrfs

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// maxInline is the largest file that is stored in its inode's tree, the
// default of the mount option max_inline.
const maxInline = 2048

// A node is one file, directory or link of the image.
type node struct {
	inode   uint64
	parent  uint64
	index   uint64 // among the entries of the parent, from 2
	name    string
	source  string
	kind    uint8
	mode    uint32
	size    uint64 // of a file or a link's target
	target  string
	entries []int // of a directory: positions in the list of nodes
	extents []extent
}

// scan returns all nodes in the order of their inode numbers: a directory, then
// each of its entries by name with all that is below it. The first is the root.
func scan(ctx context.Context, paths []Path) ([]node, error) {
	paths = slices.SortedFunc(slices.Values(paths), func(a, b Path) int { return cmp.Compare(a.Name, b.Name) })
	s := &scanner{ctx: ctx, nodes: []node{{
		inode: idFirstInode, parent: idFirstInode, kind: entryDir, mode: modeDir | 0o755,
	}}}
	for i, p := range paths {
		if i > 0 && paths[i-1].Name == p.Name {
			return nil, fmt.Errorf("%s is there twice", p.Name)
		}
		if err := s.add(0, p.Name, p.Source); err != nil {
			return nil, err
		}
	}
	return s.nodes, nil
}

type scanner struct {
	ctx   context.Context //nolint:containedctx // a walk has no room for one, and ends with its call
	nodes []node
}

// File types as they stand in an inode's mode.
const (
	modeDir     = 0o040000
	modeFile    = 0o100000
	modeSymlink = 0o120000
)

// add appends the file at source, and what is below it, to the directory at
// position dir.
func (s *scanner) add(dir int, name, source string) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	fi, err := os.Lstat(source)
	if err != nil {
		return err
	}
	at := len(s.nodes)
	parent := &s.nodes[dir]
	parent.entries = append(parent.entries, at)
	n := node{
		inode: idFirstInode + uint64(at), parent: parent.inode, index: 1 + uint64(len(parent.entries)),
		name: name, source: source, mode: uint32(fi.Mode().Perm()),
	}
	switch fi.Mode().Type() {
	case 0:
		n.kind, n.size = entryFile, uint64(fi.Size())
		n.mode |= modeFile
	case fs.ModeSymlink:
		if n.target, err = os.Readlink(source); err != nil {
			return err
		}
		n.kind, n.size, n.mode = entrySymlink, uint64(len(n.target)), modeSymlink|0o777
	case fs.ModeDir:
		n.kind = entryDir
		n.mode |= modeDir
	default:
		return fmt.Errorf("%s is neither a file, a directory nor a link", source)
	}
	s.nodes = append(s.nodes, n)
	if n.kind != entryDir {
		return nil
	}
	entries, err := os.ReadDir(source) // by name
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.add(at, e.Name(), source+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}
