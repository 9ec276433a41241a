package guest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"
)

// newRoot is where the plan is mounted until it becomes the root.
const newRoot = "/mnt-root"

// base is the kernel's own file systems, which the initrd mounts for itself and
// hands on to init. As in NixOS's first stage, /run is one of them.
var base = []struct {
	kind, where string
	flags       uintptr
	data        string
}{
	{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
	// NixOS gives /run a quarter of memory. It is where a system keeps
	// programs too, so it is not noexec.
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME, "mode=0755,size=25%"},
}

// mountBase mounts what everything else needs. A kernel with
// CONFIG_DEVTMPFS_MOUNT does not mount it in an initramfs, but EBUSY from one
// that somebody did mount is no reason to stop.
func mountBase() error {
	for _, b := range base {
		if err := mkdirAll(b.where, 0o755); err != nil {
			return err
		}
		err := retry(func() error { return unix.Mount(b.kind, b.where, b.kind, b.flags, b.data) })
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return &Failure{Op: fmt.Sprintf("mount %s on %s", b.kind, b.where), Err: err}
		}
	}
	return nil
}

// shareBase makes the same file systems visible in the new root, so that the
// rest of the plan can be mounted from inside it, by the paths it will have.
func shareBase(root string) error {
	for _, b := range base {
		where := root + b.where
		if err := mkdirAll(where, 0o755); err != nil {
			return err
		}
		if err := retry(func() error { return unix.Mount(b.where, where, "", unix.MS_BIND, "") }); err != nil {
			return &Failure{Op: "bind " + b.where + " in the new root", Err: err}
		}
	}
	return nil
}

// inside calls f on a thread of its own whose root is dir, and waits for it.
// Paths that f uses, and symbolic links on the volumes that it meets, resolve
// in the new root; the overlay's options read as they will be seen later.
func inside(dir string, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: a thread with another root is not to be used
		// again, and ends with this goroutine.
		runtime.LockOSThread()
		var err error
		defer func() {
			if r := recover(); r != nil {
				err = &Failure{Op: "boot", Err: fmt.Errorf("panic: %v", r), Detail: string(debug.Stack())}
			}
			done <- err
		}()
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			err = &Failure{Op: "leave the initrd's root", Err: err}
			return
		}
		if err = enter(dir); err == nil {
			err = f()
		}
	}()
	return <-done
}

func enter(dir string) error {
	if err := unix.Chroot(dir); err != nil {
		return &Failure{Op: "enter " + dir, Err: err}
	}
	return wrap("enter "+dir, unix.Chdir("/"))
}

// switchRoot makes the new root the root of this process and of the mount
// namespace, and empties the initramfs, whose memory is otherwise lost until
// the guest ends. It is the kernel's way for initramfs
// (Documentation/filesystems/ramfs-rootfs-initramfs.rst); pivot_root does not
// work there.
func switchRoot(root string) error {
	for _, b := range slices.Backward(base) {
		// They stay mounted in the new root. Lazily, because of /dev/console
		// and of whatever of /proc is open.
		_ = unix.Unmount(b.where, unix.MNT_DETACH)
	}
	if err := unix.Chdir(root); err != nil {
		return &Failure{Op: "enter " + root, Err: err}
	}
	empty("/")
	if err := retry(func() error { return unix.Mount(".", "/", "", unix.MS_MOVE, "") }); err != nil {
		return &Failure{Op: "move the new root to /", Err: err}
	}
	return enter(".")
}

// empty removes the files below dir that are on dir's own file system, if that
// lies in memory. It is best effort: what stays costs memory, nothing else.
func empty(dir string) {
	var fs unix.Statfs_t
	const ramfs = 0x858458f6
	if err := unix.Statfs(dir, &fs); err != nil || (fs.Type != ramfs && fs.Type != unix.TMPFS_MAGIC) {
		return
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return
	}
	emptyOn(dir, st.Dev)
}

func emptyOn(dir string, dev uint64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := dir + "/" + e.Name()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Dev != dev {
			continue // a mount point: what is behind it is not ours
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			emptyOn(path, dev)
			_ = unix.Rmdir(path)
		} else {
			_ = unix.Unlink(path)
		}
	}
}
