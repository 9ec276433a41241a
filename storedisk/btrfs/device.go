package btrfs

import "hash/crc32"

// A device is what identifies the one device of the file system.
type device struct {
	fsid, uuid, chunkTree [16]byte
	size, used            uint64
	chunks                []chunk
}

// appendItem appends the description of the device.
func (d *device) appendItem(b []byte) []byte {
	b = appendU64s(b, idDevice, d.size, d.used)
	b = appendU32s(b, sectorSize, sectorSize, sectorSize) // for input and output
	b = appendU64s(b, 0, generation, 0)
	b = appendU32s(b, 0)
	b = append(b, 0, 0) // speed and bandwidth
	b = append(b, d.uuid[:]...)
	return append(b, d.fsid[:]...)
}

// appendChunk appends a chunk's mapping: to the same address on the device.
func (d *device) appendChunk(b []byte, c chunk) []byte {
	b = appendU64s(b, c.size, idExtentTree, stripeLen, c.holds)
	b = appendU32s(b, stripeLen, stripeLen, sectorSize)
	b = le.AppendUint16(b, 1) // stripe
	b = le.AppendUint16(b, 1)
	b = appendU64s(b, idDevice, c.start)
	return append(b, d.uuid[:]...)
}

func (c chunk) key() key { return key{idFirstChunk, typeChunk, c.start} }

// writeChunks writes the tree that maps addresses.
func (im *image) writeChunks(d *device) error {
	t := im.tree(idChunkTree)
	t.at = systemAt
	if err := t.add(key{idDevice, typeDevice, idDevice}, d.appendItem(nil)); err != nil {
		return err
	}
	for _, c := range d.chunks {
		if err := t.add(c.key(), d.appendChunk(nil, c)); err != nil {
			return err
		}
	}
	return t.finishLeaf()
}

// writeDevice writes the tree that maps the device back, into t.
func (t *tree) writeDevice(d *device) error {
	for _, c := range d.chunks {
		b := appendU64s(nil, idChunkTree, idFirstChunk, c.start, c.size)
		b = append(b, d.chunkTree[:]...)
		if err := t.add(key{idDevice, typeDevExtent, c.start}, b); err != nil {
			return err
		}
	}
	return t.finishLeaf()
}

// writeFree writes the tree of free space, into t. What is used of a chunk is at
// its start.
func (t *tree) writeFree(d *device) error {
	for _, c := range d.chunks {
		free := c.size - c.used
		info := appendU32s(nil, uint32(min(free, 1)), 0) // extents; not as a bitmap
		if err := t.add(key{c.start, typeFreeInfo, c.size}, info); err != nil {
			return err
		}
		if free == 0 {
			continue
		}
		if err := t.add(key{c.start + c.used, typeFreeExtent, free}, nil); err != nil {
			return err
		}
	}
	return t.finishLeaf()
}

// A super is what the superblock says besides the device.
type super struct {
	label     string
	root      uint64
	rootLevel uint8
}

// Features that a writer must know: the free space tree, and that it is right.
const compatRO = 1<<0 | 1<<1

// Features that a reader must know.
const incompat = 1<<0 | // mixed back references
	1<<5 | // nodes larger than pages
	1<<6 | // extended references to names
	1<<8 | // skinny metadata
	1<<9 // no items for holes

// write writes the superblock and its copies.
func (s *super) write(im *image, d *device) error {
	for _, at := range append([]uint64{superAt}, mirrors...) {
		if at+sectorSize > d.size {
			break
		}
		if _, err := im.w.WriteAt(s.block(d, at), int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// block returns the superblock that stands at an address.
func (s *super) block(d *device, at uint64) []byte {
	b := make([]byte, 32, sectorSize)
	b = append(b, d.fsid[:]...)
	b = appendU64s(b, at, 1) // written
	b = append(b, "_BHRfS_M"...)
	used := uint64(0)
	for _, c := range d.chunks {
		used += c.used
	}
	b = appendU64s(b, generation, s.root, systemAt, 0, 0, d.size, used, idRootDir, 1)
	system := d.appendChunk(d.chunks[0].key().append(nil), d.chunks[0])
	b = appendU32s(b, sectorSize, nodeSize, nodeSize, sectorSize, uint32(len(system)))
	b = appendU64s(b, generation, 0, compatRO, incompat)
	b = append(b, 0, 0) // CRC-32C
	b = append(b, s.rootLevel, 0, 0)
	b = d.appendItem(b)
	b = append(b, s.label...)
	b = b[:sectorSize]
	copy(b[superChunks:], system)
	le.PutUint32(b, crc32.Checksum(b[32:], castagnoli))
	return b
}

const (
	labelSize   = 256
	superChunks = 0x32b // where the superblock has the mapping of system chunks
)
