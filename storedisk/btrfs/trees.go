package btrfs

import "slices"

// writeSums writes the tree of checksums of data.
func (im *image) writeSums(data []chunk, sums []uint32) (root uint64, level uint8, err error) {
	t := im.tree(idCsumTree)
	// As many as fit in an item that has a leaf to itself, less what the
	// kernel keeps free for splitting.
	const most = (leafSpace-2*itemSize)/4 - 1
	for _, c := range data {
		for at := c.start; at < c.start+c.used; {
			n := min(most, (c.start+c.used-at)/sectorSize)
			first := (at - dataAt) / sectorSize
			b := appendU32s(nil, sums[first:first+n]...)
			if err := t.add(key{idCsum, typeCsum, at}, b); err != nil {
				return 0, 0, err
			}
			at += n * sectorSize
		}
	}
	return t.finish()
}

// writeExtents writes the tree of what is allocated, and returns the list of
// all chunks. Those for metadata begin at meta.
//
// The tree lists its own blocks, so their number depends on itself. It is
// written to nowhere until it comes out as was assumed; more blocks never
// need fewer, so that comes to an end.
func (im *image) writeExtents(extents []extent, data []chunk, meta uint64) (root uint64, level uint8, all []chunk, err error) {
	var own []block
	for {
		probe := *im
		probe.w, probe.blocks = nil, nil
		blocks := slices.Concat([]block{{systemAt, idChunkTree, 0}}, im.blocks, own)
		all = allChunks(data, blocks, meta)
		if _, _, err := probe.tree(idExtentTree).addExtents(extents, blocks, all); err != nil {
			return 0, 0, nil, err
		}
		if slices.Equal(probe.blocks, own) {
			root, level, err = im.tree(idExtentTree).addExtents(extents, blocks, all)
			return root, level, all, err
		}
		own = probe.blocks
	}
}

// allChunks returns the chunks and how much of each is used by blocks.
func allChunks(data []chunk, blocks []block, meta uint64) []chunk {
	end := blocks[len(blocks)-1].addr + nodeSize
	all := slices.Concat(
		[]chunk{{start: systemAt, size: dataAt - systemAt, holds: holdsSystem}},
		data,
		chunks(meta, align(end, stripeLen), holdsMetadata))
	i := 0
	for _, b := range blocks {
		for b.addr >= all[i].start+all[i].size {
			i++
		}
		all[i].used += nodeSize
	}
	return all
}

// addExtents adds everything that is allocated, in the order of addresses, and
// finishes the tree.
func (t *tree) addExtents(extents []extent, blocks []block, all []chunk) (root uint64, level uint8, err error) {
	var b []byte
	for _, c := range all {
		// The chunk's own item is behind what begins at the same address.
		group := key{c.start, typeBlockGroup, c.size}
		add := func(k key, data []byte) error {
			if group != (key{}) && group.before(k) {
				if err := t.add(group, appendU64s(nil, c.used, idFirstChunk, c.holds)); err != nil {
					return err
				}
				group = key{}
			}
			return t.add(k, data)
		}
		end := c.start + c.size
		for ; len(extents) > 0 && extents[0].addr < end; extents = extents[1:] {
			e := extents[0]
			b = appendU64s(b[:0], 1, generation, extentData)
			b = append(b, typeDataRef)
			b = appendU64s(b, idFSTree, e.inode, e.off)
			b = appendU32s(b, 1)
			if err := add(key{e.addr, typeExtent, e.size}, b); err != nil {
				return 0, 0, err
			}
		}
		for ; c.holds != holdsData && len(blocks) > 0 && blocks[0].addr < end; blocks = blocks[1:] {
			k := blocks[0]
			b = appendU64s(b[:0], 1, generation, extentTree)
			b = append(b, typeTreeRef)
			b = appendU64s(b, k.owner)
			if err := add(key{k.addr, typeMetadata, uint64(k.level)}, b); err != nil {
				return 0, 0, err
			}
		}
		if group != (key{}) {
			if err := t.add(group, appendU64s(nil, c.used, idFirstChunk, c.holds)); err != nil {
				return 0, 0, err
			}
		}
	}
	return t.finish()
}

// Kinds of an allocated extent. The data of a file has a reference that counts
// where in the file the extent begins, minus where the file begins in the
// extent; here every extent is used whole, so that is the former.
const (
	extentData = 1
	extentTree = 2
)
