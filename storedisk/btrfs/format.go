package btrfs

import (
	"encoding/binary"
	"hash/crc32"
)

// Sizes that the format fixes or that are chosen as mkfs.btrfs does.
const (
	sectorSize = 4096
	nodeSize   = 16 << 10
	stripeLen  = 64 << 10
	generation = 1 // of everything: there is one transaction

	headerSize  = 101
	itemSize    = 25 // of an item's head in a leaf
	pointerSize = 33 // of a pointer in an inner node
	leafSpace   = nodeSize - headerSize
	maxPointers = leafSpace / pointerSize

	inodeSize    = 160
	rootItemSize = 439
	devItemSize  = 98
)

// Object ids.
const (
	idRootTree   = 1
	idExtentTree = 2
	idChunkTree  = 3
	idDevTree    = 4
	idFSTree     = 5
	idRootDir    = 6 // the directory in the root tree that names subvolumes
	idCsumTree   = 7
	idFreeTree   = 10
	idDataReloc  = 1<<64 - 9
	idCsum       = 1<<64 - 10
	idFirstChunk = 256
	idFirstInode = 256 // a tree's root directory
	idDevice     = 1
)

// Key types.
const (
	typeInode      = 1
	typeInodeRef   = 12
	typeDirItem    = 84
	typeDirIndex   = 96
	typeExtentData = 108
	typeCsum       = 128
	typeRoot       = 132
	typeExtent     = 168
	typeMetadata   = 169
	typeTreeRef    = 176 // inside an extent's item
	typeDataRef    = 178 // inside an extent's item
	typeBlockGroup = 192
	typeFreeInfo   = 198
	typeFreeExtent = 199
	typeDevExtent  = 204
	typeDevice     = 216
	typeChunk      = 228
)

// What a chunk holds.
const (
	holdsData     = 1
	holdsSystem   = 2
	holdsMetadata = 4
)

// File types as directory entries number them.
const (
	entryFile    = 1
	entryDir     = 2
	entrySymlink = 7
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// nameHash is the offset in a directory item's key: CRC-32C with its own start
// value and without the inversion at the end.
func nameHash(name string) uint64 {
	return uint64(^crc32.Update(1, castagnoli, []byte(name)))
}

// A key addresses an item in a tree.
type key struct {
	id  uint64
	typ uint8
	off uint64
}

func (k key) before(l key) bool {
	switch {
	case k.id != l.id:
		return k.id < l.id
	case k.typ != l.typ:
		return k.typ < l.typ
	}
	return k.off < l.off
}

// The functions below append little-endian fields.

func (k key) append(b []byte) []byte {
	b = le.AppendUint64(b, k.id)
	b = append(b, k.typ)
	return le.AppendUint64(b, k.off)
}

func appendU64s(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = le.AppendUint64(b, v)
	}
	return b
}

func appendU32s(b []byte, vs ...uint32) []byte {
	for _, v := range vs {
		b = le.AppendUint32(b, v)
	}
	return b
}

// appendInode appends an inode of 0:0 with all times 1.
func appendInode(b []byte, size, bytes uint64, mode uint32, flags uint64) []byte {
	b = appendU64s(b, generation, generation, size, bytes, 0)
	b = appendU32s(b, 1, 0, 0, mode) // links, owner, group
	b = appendU64s(b, 0, flags, 0, 0, 0, 0, 0)
	for range 4 { // access, change, modification, creation
		b = appendTime(b)
	}
	return b
}

func appendTime(b []byte) []byte {
	b = le.AppendUint64(b, 1)
	return le.AppendUint32(b, 0)
}

// appendRef appends a back reference from an inode to its name.
func appendRef(b []byte, index uint64, name string) []byte {
	b = le.AppendUint64(b, index)
	b = le.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// appendEntry appends a directory's entry that leads to target.
func appendEntry(b []byte, target key, kind uint8, name string) []byte {
	b = target.append(b)
	b = le.AppendUint64(b, generation)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, uint16(len(name)))
	b = append(b, kind)
	return append(b, name...)
}
