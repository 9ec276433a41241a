// Package growfs makes a mounted file system as large as the disk that it is on,
// by the ioctls that resize2fs, xfs_growfs and btrfs(8) use: a guest need have
// none of these programs.
package growfs

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/superblock"
	"github.com/mvmrun/mvm/mounts"
)

// slack is what a file system may leave of its disk without being thought
// smaller: mkfs rounds down, by tracks of a disk that never was (vfat) at most.
// Images have whole MiB.
const slack = 1 << 20

// All grows the file systems of a plan that are to grow, where the text of
// /proc/PID/mountinfo says that they are mounted. It returns a line for each that
// it has grown or cannot grow: a file system that stays small is no reason not to
// boot.
func All(plan mounts.Plan, mountinfo []mounts.MountInfo) (notes []string) {
	for _, m := range plan.Mounts {
		if !m.Grow {
			continue
		}
		i := lastAt(mountinfo, m.Where)
		if i < 0 {
			continue // which is somebody else's to say
		}
		switch from, to, err := grow(mountinfo[i]); {
		case err != nil:
			notes = append(notes, fmt.Sprintf("the file system on %s is smaller than its disk, and stays so: %v", m.Where, err))
		case to > from:
			notes = append(notes, fmt.Sprintf("the file system on %s has grown from %d to %d MiB", m.Where, from>>20, to>>20))
		}
	}
	return notes
}

// lastAt returns the index of the mount that was made last on a place, or -1.
func lastAt(all []mounts.MountInfo, where string) int {
	for i, m := range slices.Backward(all) {
		if m.Where == where {
			return i
		}
	}
	return -1
}

// grow grows one file system, if its disk has room for that, and returns how many
// bytes statfs(2) counted before and after.
func grow(m mounts.MountInfo) (from, to int64, err error) {
	disk, err := os.Open(m.Source)
	if err != nil {
		return 0, 0, err
	}
	defer disk.Close()
	var room uint64
	if err := ioctl(int(disk.Fd()), unix.BLKGETSIZE64, &room); err != nil {
		return 0, 0, fmt.Errorf("size of %s: %w", m.Source, err)
	}
	sb, err := superblock.Probe(disk)
	if err != nil {
		return 0, 0, err
	}
	if sb.Size <= 0 || int64(room)-sb.Size < slack {
		return 0, 0, nil
	}
	if from, err = size(m.Where); err != nil {
		return 0, 0, err
	}
	if err := resize(m, int64(room)); err != nil {
		return 0, 0, err
	}
	to, err = size(m.Where)
	return from, to, err
}

// size is the size of a mounted file system, in bytes.
func size(where string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(where, &st); err != nil {
		return 0, err
	}
	return int64(st.Blocks) * st.Bsize, nil
}
