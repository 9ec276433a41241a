package btrfs

import "fmt"

// A root is the root block of a tree.
type root struct {
	id    uint64
	addr  uint64
	level uint8
}

// appendItem appends a tree's description. Trees of files have a root
// directory, and the file system's own a UUID.
func (r root) appendItem(b []byte, uuid [16]byte) []byte {
	dir, flags := uint64(0), uint64(0)
	if r.id == idFSTree || r.id == idDataReloc {
		dir = idFirstInode
		flags = 1 << 31 // the fields behind it are meant
	}
	start := len(b)
	b = appendInode(b, 3, nodeSize, modeDir|0o755, flags) // as mkfs.btrfs has it
	b = appendU64s(b, generation, dir, r.addr, 0, nodeSize, 0, 0)
	b = appendU32s(b, 1) // reference
	b = key{}.append(b)  // of dropping, which is not going on
	b = append(b, 0, r.level)
	b = appendU64s(b, generation)
	if r.id == idFSTree {
		b = append(b, uuid[:]...)
	} else {
		b = append(b, make([]byte, 16)...)
	}
	b = append(b, make([]byte, 32)...) // parent's and sender's UUID
	b = appendU64s(b, generation, generation, 0, 0)
	b = appendTime(appendTime(b)) // of change and creation
	return append(b, make([]byte, rootItemSize-(len(b)-start))...)
}

// writeRoots writes the tree of trees, into t.
func (t *tree) writeRoots(uuid [16]byte, extents, dev, files, sums, free, reloc root) error {
	const subvolume = "default"
	var errs []error
	add := func(k key, data []byte) { errs = append(errs, t.add(k, data)) }

	add(key{extents.id, typeRoot, 0}, extents.appendItem(nil, uuid))
	add(key{dev.id, typeRoot, 0}, dev.appendItem(nil, uuid))
	add(key{files.id, typeInodeRef, idRootDir}, appendRef(nil, 0, subvolume))
	add(key{files.id, typeRoot, 0}, files.appendItem(nil, uuid))
	add(key{idRootDir, typeInode, 0}, appendInode(nil, 0, nodeSize, modeDir|0o755, 0))
	add(key{idRootDir, typeInodeRef, idRootDir}, appendRef(nil, 0, ".."))
	add(key{idRootDir, typeDirItem, nameHash(subvolume)},
		appendEntry(nil, key{files.id, typeRoot, 1<<64 - 1}, entryDir, subvolume))
	add(key{sums.id, typeRoot, 0}, sums.appendItem(nil, uuid))
	add(key{free.id, typeRoot, 0}, free.appendItem(nil, uuid))
	add(key{reloc.id, typeRoot, 0}, reloc.appendItem(nil, uuid))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return t.finishLeaf()
}

// writeReloc writes the tree that balancing would use, which must be there.
func (im *image) writeReloc() (root, error) {
	t := im.tree(idDataReloc)
	if err := t.add(key{idFirstInode, typeInode, 0}, appendInode(nil, 0, nodeSize, modeDir|0o755, 0)); err != nil {
		return root{}, err
	}
	if err := t.add(key{idFirstInode, typeInodeRef, idFirstInode}, appendRef(nil, 0, "..")); err != nil {
		return root{}, err
	}
	addr, level, err := t.finish()
	return root{idDataReloc, addr, level}, err
}

// finishLeaf finishes a tree that has to fit in one leaf.
func (t *tree) finishLeaf() error {
	if _, level, err := t.finish(); err != nil || level == 0 {
		return err
	}
	return fmt.Errorf("btrfs tree %d has grown over one leaf", t.owner)
}
