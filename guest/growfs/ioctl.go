package growfs

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
)

// The requests, which golang.org/x/sys has not.
const (
	ext4ResizeFS  = 0x40086610 // EXT4_IOC_RESIZE_FS, fs/ext4/ext4.h
	xfsGeometry   = 0x80705864 // XFS_IOC_FSGEOMETRY_V1, fs/xfs/libxfs/xfs_fs.h
	xfsGrowFSData = 0x4010586e // XFS_IOC_FSGROWFSDATA
	btrfsResize   = 0x50009403 // BTRFS_IOC_RESIZE, linux/btrfs.h
)

// leastBtrfs is what btrfs_ioctl_resize (fs/btrfs/ioctl.c) refuses to go below.
const leastBtrfs = 256 << 20

// resize tells the kernel to let the file system have so many bytes, or as many
// of them as it can use.
func resize(m mounts.MountInfo, room int64) error {
	dir, err := unix.Open(m.Where, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	switch m.Type {
	case "ext2", "ext3", "ext4":
		return resizeExt(dir, room)
	case "xfs":
		return resizeXFS(dir, room)
	case "btrfs":
		// struct btrfs_ioctl_vol_args: a descriptor that does not count here,
		// and what "btrfs filesystem resize" takes.
		var args [4096]byte
		copy(args[8:], "max")
		err := ioctl(dir, btrfsResize, &args)
		if errors.Is(err, unix.EINVAL) && room < leastBtrfs {
			return errors.New("Linux resizes no btrfs to less than 256 MiB")
		}
		return err
	}
	return fmt.Errorf("Linux cannot grow %s", m.Type)
}

// resizeExt is for all three of the family, which one driver serves in most
// kernels (CONFIG_EXT4_USE_FOR_EXT2).
func resizeExt(dir int, room int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil {
		return err
	}
	blocks := uint64(room / st.Bsize)
	switch err := ioctl(dir, ext4ResizeFS, &blocks); {
	case errors.Is(err, unix.ENOTTY):
		return errors.New("the guest's kernel has a driver for it that cannot grow it")
	case errors.Is(err, unix.EPERM): // process 1 lacks no capability
		return errors.New("it has errors: check it with fsck")
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("it was made without the features that growing takes: %w", err)
	default:
		return err
	}
}

func resizeXFS(dir int, room int64) error {
	var g struct { // struct xfs_fsop_geom_v1
		blockSize, _, _, _, _, _, _, inodePercent uint32
		_                                         [10]uint64
	}
	if err := ioctl(dir, xfsGeometry, &g); err != nil {
		return err
	}
	if g.blockSize == 0 {
		return unix.EINVAL
	}
	data := struct { // struct xfs_growfs_data
		blocks       uint64
		inodePercent uint32
	}{uint64(room) / uint64(g.blockSize), g.inodePercent}
	return ioctl(dir, xfsGrowFSData, &data)
}

// ioctl makes a request whose argument is a pointer to what the kernel reads or
// writes.
func ioctl[T any](fd int, request uintptr, arg *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
