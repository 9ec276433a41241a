package erofs

import (
	"time"

	"golang.org/x/sys/unix"
)

// An identity is what tells that a path's root is still the inode it was, and
// unchanged. The zero identity is equal to no path's.
type identity struct {
	Dev, Ino  uint64
	Sec, Nsec int64 // of the change time
	Size      int64
	Mode      uint32
	Fresh     uint32 // 1 if the change time was too recent to tell anything
}

// settled is how old a change time must be for it to tell anything. Within a
// tick of the file system's clock a path can be removed and another be made
// with its inode number and its change time. A tick is at most 10 ms; the rest
// is for a file server whose clock differs.
const settled = time.Second

// identify returns the identity of what st describes, as of now.
func identify(st *unix.Stat_t) identity {
	id := identity{
		Dev: st.Dev, Ino: st.Ino,
		Sec: int64(st.Ctim.Sec), Nsec: int64(st.Ctim.Nsec), //nolint:unconvert // they are shorter on 32-bit hosts
		Size: st.Size, Mode: st.Mode,
	}
	if time.Since(time.Unix(id.Sec, id.Nsec)) < settled {
		id.Fresh = 1
	}
	return id
}

// same reports whether now is certainly the inode that id was made from.
func (id identity) same(now identity) bool {
	now.Fresh = 0
	return id == now
}

// identifyPath returns the identity of what is at path, which is not followed
// if it is a link.
func identifyPath(path string) (identity, error) {
	var st unix.Stat_t
	if err := lstat(path, &st); err != nil {
		return identity{}, err
	}
	return identify(&st), nil
}
