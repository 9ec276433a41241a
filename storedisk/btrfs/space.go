package btrfs

// Where things are. Addresses are the same in the file system's address space
// and on the device.
const (
	superAt  = 64 << 10
	systemAt = 1 << 20
	dataAt   = 2 << 20
)

// mirrors are where copies of the superblock lie if the device is that large.
// The kernel lets nothing else be in their stripes.
var mirrors = []uint64{64 << 20, 256 << 30}

// A chunk is a range of addresses with a purpose.
type chunk struct {
	start, size uint64
	holds       uint64
	used        uint64
}

// skip returns addr, or the first address behind a mirror if n bytes from addr
// on would touch it.
func skip(addr, n uint64) uint64 {
	for _, m := range mirrors {
		if addr < m+stripeLen && addr+n > m {
			addr = m + stripeLen
		}
	}
	return addr
}

// room returns how many bytes from addr on there are before the next mirror.
// addr is not in one.
func room(addr uint64) uint64 {
	for _, m := range mirrors {
		if addr < m {
			return m - addr
		}
	}
	return 1<<63 - addr
}

// chunks cuts the range from start to end at the mirrors.
func chunks(start, end, holds uint64) []chunk {
	var cs []chunk
	for start = skip(start, 1); start < end; {
		n := min(room(start), end-start)
		cs = append(cs, chunk{start: start, size: n, holds: holds})
		start = skip(start+n, 1)
	}
	return cs
}

func align(n, to uint64) uint64 { return (n + to - 1) / to * to }

// maxExtent is the longest extent of data that the kernel makes.
const maxExtent = 128 << 20

// An extent is a part of a file's data.
type extent struct {
	addr, size uint64 // size is a multiple of the sector size
	off        uint64 // in the file
	inode      uint64
}

// place gives each file that is not stored inline its extents, one behind the
// other from dataAt on. It returns the end of the data.
func place(nodes []node) uint64 {
	addr := uint64(dataAt)
	for i := range nodes {
		n := &nodes[i]
		if n.kind != entryFile || n.size <= maxInline {
			continue
		}
		size := align(n.size, sectorSize)
		for off := uint64(0); off < size; {
			addr = skip(addr, sectorSize)
			e := extent{addr: addr, size: min(size-off, maxExtent, room(addr)), off: off, inode: n.inode}
			n.extents = append(n.extents, e)
			addr += e.size
			off += e.size
		}
	}
	// There is always a chunk for data: the kernel does not expect none.
	return skip(align(max(addr, dataAt+1), stripeLen), nodeSize)
}
