package erofs

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// cloneMin is the least data worth sharing: below it, the file system's work
// for one more extent costs more than copying.
const cloneMin = 128 << 10

// A cloner lets the image share blocks with the files it is made from, on file
// systems that can (XFS, btrfs). It asks once per source device and then knows.
//
// It is not copy_file_range, which copies where it cannot share, and which is
// slower at that than a buffer that serves many files.
type cloner struct {
	f  *os.File
	no sync.Map // devices, by st_dev, from which nothing can be shared
}

func newCloner(f *os.File) *cloner { return &cloner{f: f} }

// useful reports whether size bytes from a file of device dev may be shared.
func (c *cloner) useful(dev uint64, size int64) bool {
	if size < cloneMin {
		return false
	}
	_, no := c.no.Load(dev)
	return !no
}

// clone shares whole blocks of fd from off on with the image at to, and returns
// how many bytes that were: 0 if sharing is not possible.
func (c *cloner) clone(fd int, dev uint64, to, off, size int64) int64 {
	size &^= blockSize - 1
	if !c.useful(dev, size) {
		return 0
	}
	err := retry(func() error {
		return unix.IoctlFileCloneRange(int(c.f.Fd()), &unix.FileCloneRange{
			Src_fd:      int64(fd),
			Src_offset:  uint64(off),
			Src_length:  uint64(size),
			Dest_offset: uint64(to),
		})
	})
	if err != nil {
		c.no.Store(dev, nil)
		return 0
	}
	return size
}
