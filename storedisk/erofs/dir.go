package erofs

import (
	"slices"
	"strings"
)

// direntSize is the fixed part of a directory entry; names stand apart.
const direntSize = 12

// A dirent is one entry of a directory.
type dirent struct {
	name string
	nid  uint64
	kind kind
}

// withDots adds "." and ".." to sorted entries. The kernel searches the whole
// directory by halves, so they stand where bytes put them: "-x" is before ".".
func withDots(ents []dirent, self, parent uint64) []dirent {
	for _, d := range []dirent{{".", self, kindDir}, {"..", parent, kindDir}} {
		i, _ := slices.BinarySearchFunc(ents, d.name, func(e dirent, name string) int {
			return strings.Compare(e.name, name)
		})
		ents = slices.Insert(ents, i, d)
	}
	return ents
}

// nextDirBlock returns how many of ents go into the next block, and the bytes
// they use there.
func nextDirBlock(ents []dirent) (n, used int) {
	for _, e := range ents {
		need := direntSize + len(e.name)
		if used+need > blockSize {
			break
		}
		used += need
		n++
	}
	return n, used
}

// dirSize returns the size of a directory: whole blocks, and what is used of
// the last.
func dirSize(ents []dirent) int64 {
	var size int64
	for {
		n, used := nextDirBlock(ents)
		if ents = ents[n:]; len(ents) == 0 {
			return size + int64(used)
		}
		size += blockSize
	}
}

// appendDir appends the content of a directory to b: dirSize(ents) bytes.
func appendDir(b []byte, ents []dirent) []byte {
	for len(ents) > 0 {
		n, used := nextDirBlock(ents)
		start := len(b)
		b = slices.Grow(b, blockSize)[:start+blockSize]
		block := b[start:]
		clear(block)
		name := n * direntSize
		for i, e := range ents[:n] {
			d := block[i*direntSize:]
			le.PutUint64(d, e.nid)
			le.PutUint16(d[8:], uint16(name))
			d[10] = byte(e.kind)
			name += copy(block[name:], e.name)
		}
		if ents = ents[n:]; len(ents) == 0 {
			b = b[:start+used]
		}
	}
	return b
}
