package storedisk

import "io/fs"

// What mke2fs is told, and what follows from it.
const (
	ext4Block      = 4096
	ext4Inode      = 256
	ext4GroupSize  = 8 * ext4Block // blocks that one block of bitmap covers
	ext4Reserved   = 11            // inodes before the first of a user
	ext4Descriptor = 32            // bytes for each group
	ext4LostFound  = 4             // blocks of a directory that is there at first
	ext4InlineLink = 60            // a target shorter than this stands in the inode
	ext4MaxExtent  = 32768         // blocks
	ext4RootExtent = 4             // extents that fit in the inode
)

// An ext4Size counts what goes into a file system.
type ext4Size struct {
	inodes int64
	data   int64 // blocks of content and directories
	dirs   []int // bytes used in the last block of the directory at each depth
}

// add counts e, which lies at a depth: 0 for a store path. Entries come as walk
// gives them.
func (s *ext4Size) add(depth int, e entry) {
	if s.dirs == nil {
		s.openDir() // the root
	}
	s.dirs = s.dirs[:depth+1]
	// An entry of a directory is 8 bytes and the name, in steps of 4, and does
	// not cross a block's end.
	base := len(e.path) - 1
	for e.path[base] != '/' {
		base--
	}
	n := 8 + (len(e.path)-base-1+3)&^3
	if s.dirs[depth]+n > ext4Block {
		s.data++
		s.dirs[depth] = 0
	}
	s.dirs[depth] += n

	s.inodes++
	switch {
	case e.mode.IsDir():
		s.openDir()
	case e.mode&fs.ModeSymlink != 0:
		if len(e.target) >= ext4InlineLink {
			s.data++
		}
	default:
		blocks := (e.size + ext4Block - 1) / ext4Block
		s.data += blocks
		// A long file is cut by the bounds of groups, at worst twice as often
		// as by the longest extent. 340 extents fit in a block.
		if extents := 2*(blocks/ext4MaxExtent) + 2; extents > ext4RootExtent {
			s.data += 1 + extents/340
		}
	}
}

func (s *ext4Size) openDir() {
	s.data++
	s.dirs = append(s.dirs, 12+12) // "." and ".."
}

func (s *ext4Size) finish() {
	s.inodes += ext4Reserved
	s.data += ext4LostFound
}

// blocks returns the size of the file system: what is counted, the tables of
// all groups, and 1/256 and 1 MiB to spare for the allocator's rounding.
func (s *ext4Size) blocks() int64 {
	want := s.data + s.data/256 + 256
	total := want
	for {
		groups := (total + ext4GroupSize - 1) / ext4GroupSize
		perGroup := (s.inodes + groups - 1) / groups
		table := (perGroup*ext4Inode+ext4Block-1)/ext4Block + 1
		super := 1 + (groups*ext4Descriptor+ext4Block-1)/ext4Block
		need := want + groups*(2+table) + backups(groups)*super
		if need <= total {
			return total
		}
		total = need
	}
}

// backups returns how many of the groups have a copy of the superblock: 0, 1,
// and the powers of 3, 5 and 7.
func backups(groups int64) int64 {
	n := min(groups, 2)
	for _, base := range []int64{3, 5, 7} {
		for p := base; p < groups; p *= base {
			n++
		}
	}
	return n
}
