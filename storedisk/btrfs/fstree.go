package btrfs

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
)

// writeFiles writes the tree of files and directories.
func (im *image) writeFiles(ctx context.Context, nodes []node, jobs int) (root uint64, level uint8, err error) {
	t := im.tree(idFSTree)
	// Small files are read some thousand at a time: by several readers, yet
	// without holding all of them in memory.
	const batch = 4096
	for start := 0; start < len(nodes); start += batch {
		part := nodes[start:min(start+batch, len(nodes))]
		inline := make([][]byte, len(part))
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(jobs)
		for i := range part {
			n := &part[i]
			switch {
			case n.kind == entrySymlink:
				inline[i] = []byte(n.target)
			case n.kind == entryFile && n.size > 0 && n.size <= maxInline:
				g.Go(func() (err error) {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					inline[i], err = readInline(n)
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			return 0, 0, err
		}
		for i := range part {
			if err := t.addNode(&part[i], nodes, inline[i]); err != nil {
				return 0, 0, err
			}
		}
	}
	return t.finish()
}

// addNode adds all items of one inode.
func (t *tree) addNode(n *node, nodes []node, inline []byte) error {
	size, bytes := n.size, uint64(len(inline))
	for _, e := range n.extents {
		bytes += e.size
	}
	for _, i := range n.entries {
		size += 2 * uint64(len(nodes[i].name)) // one for each way to look it up
	}
	b := make([]byte, 0, inodeSize+maxInline)
	if err := t.add(key{n.inode, typeInode, 0}, appendInode(b, size, bytes, n.mode, 0)); err != nil {
		return err
	}
	index, name := n.index, n.name
	if n.inode == idFirstInode {
		index, name = 0, ".."
	}
	if err := t.add(key{n.inode, typeInodeRef, n.parent}, appendRef(b, index, name)); err != nil {
		return err
	}
	if err := t.addEntries(n, nodes); err != nil {
		return err
	}
	if inline != nil {
		return t.add(key{n.inode, typeExtentData, 0}, append(appendExtentHead(b, bytes, extentInline), inline...))
	}
	for _, e := range n.extents {
		data := appendU64s(appendExtentHead(b, e.size, extentRegular), e.addr, e.size, 0, e.size)
		if err := t.add(key{n.inode, typeExtentData, e.off}, data); err != nil {
			return err
		}
	}
	return nil
}

// Kinds of an extent of a file.
const (
	extentInline  = 0
	extentRegular = 1
)

func appendExtentHead(b []byte, size uint64, kind uint8) []byte {
	b = appendU64s(b, generation, size)
	return append(b, 0, 0, 0, 0, kind) // no compression, encryption, other encoding
}

// addEntries adds a directory's entries, first by the hash of their names and
// then in their order. Names of one hash share an item.
func (t *tree) addEntries(dir *node, nodes []node) error {
	byHash := slices.SortedFunc(slices.Values(dir.entries), func(a, b int) int {
		return cmp.Or(cmp.Compare(nameHash(nodes[a].name), nameHash(nodes[b].name)), cmp.Compare(a, b))
	})
	var b []byte
	for i, e := range byHash {
		n := &nodes[e]
		b = appendEntry(b, key{n.inode, typeInode, 0}, n.kind, n.name)
		hash := nameHash(n.name)
		if i+1 < len(byHash) && nameHash(nodes[byHash[i+1]].name) == hash {
			continue
		}
		if err := t.add(key{dir.inode, typeDirItem, hash}, b); err != nil {
			return err
		}
		b = b[:0]
	}
	for _, e := range dir.entries {
		n := &nodes[e]
		b = appendEntry(b[:0], key{n.inode, typeInode, 0}, n.kind, n.name)
		if err := t.add(key{dir.inode, typeDirIndex, n.index}, b); err != nil {
			return err
		}
	}
	return nil
}
