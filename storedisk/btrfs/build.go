package btrfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"slices"
)

// A Path is one store path: an entry of the image's root directory.
type Path struct {
	Name   string // the entry's name
	Source string // the directory, file or link on the host
}

// Options are the choices a caller has. The zero value is an image without a
// label.
type Options struct {
	Label string   // at most 255 bytes
	UUID  [16]byte // of the file system; the other UUIDs are derived from it

	// Jobs is how many files are read at once. Zero means a number that
	// suits both a warm and a cold page cache.
	Jobs int

	// Progress, if not nil, is told how many bytes of data have been
	// written and how many there are. It is called by one goroutine at a
	// time, and holds the writers up until it returns.
	Progress func(done, total int64)
}

// Build writes an image of paths to f, which must be empty. The order of paths
// does not matter.
//
// Build does not sync f. After an error, what f holds is of no use.
func Build(ctx context.Context, f *os.File, paths []Path, o Options) error {
	if len(o.Label) >= labelSize {
		return fmt.Errorf("label %q has %d bytes; at most %d fit", o.Label, len(o.Label), labelSize-1)
	}
	jobs := o.Jobs
	if jobs <= 0 {
		jobs = max(16, runtime.GOMAXPROCS(0)) // most wait for the disk, or cost nothing
	}
	nodes, err := scan(ctx, paths)
	if err != nil {
		return err
	}
	meta := place(nodes)
	var extents []extent
	for i := range nodes {
		extents = append(extents, nodes[i].extents...)
	}
	data := dataChunks(extents, meta)

	c := &copier{w: f, sums: make([]uint32, (meta-dataAt)/sectorSize), progress: o.Progress}
	for _, d := range data {
		c.total += int64(d.used)
	}
	if err := c.copyAll(ctx, nodes, jobs); err != nil {
		return err
	}

	d := &device{fsid: o.UUID, uuid: derive(o.UUID, "device"), chunkTree: derive(o.UUID, "chunk tree")}
	im := &image{w: f, fsid: d.fsid, chunks: d.chunkTree, next: meta}
	roots, dev, free := im.reserve(idRootTree), im.reserve(idDevTree), im.reserve(idFreeTree)
	reloc, err := im.writeReloc()
	if err != nil {
		return err
	}
	files, sums, alloc := root{id: idFSTree}, root{id: idCsumTree}, root{id: idExtentTree}
	if files.addr, files.level, err = im.writeFiles(ctx, nodes, jobs); err != nil {
		return err
	}
	if sums.addr, sums.level, err = im.writeSums(data, c.sums); err != nil {
		return err
	}
	if alloc.addr, alloc.level, d.chunks, err = im.writeExtents(extents, data, meta); err != nil {
		return err
	}
	for _, c := range d.chunks {
		d.used += c.size
		d.size = c.start + c.size
	}
	if err := dev.writeDevice(d); err != nil {
		return err
	}
	if err := free.writeFree(d); err != nil {
		return err
	}
	if err := im.writeChunks(d); err != nil {
		return err
	}
	err = roots.writeRoots(derive(o.UUID, "subvolume"), alloc, dev.root(), files, sums, free.root(), reloc)
	if err != nil {
		return err
	}
	if err := f.Truncate(int64(d.size)); err != nil {
		return err
	}
	s := &super{label: o.Label, root: roots.at}
	return s.write(im, d)
}

// dataChunks returns the chunks for data, which end at meta, with how much of
// each is used.
func dataChunks(extents []extent, meta uint64) []chunk {
	cs := chunks(dataAt, meta, holdsData)
	i := 0
	for _, e := range extents {
		for e.addr >= cs[i].start+cs[i].size {
			i++
		}
		cs[i].used += e.size
	}
	return slices.Clip(cs)
}

// derive returns a UUID for another purpose. It is of the form 8, which RFC 9562
// leaves to the application.
func derive(uuid [16]byte, purpose string) [16]byte {
	sum := sha256.Sum256(append(uuid[:], purpose...))
	u := [16]byte(sum[:16])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}
