package sidecar

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// readOnlyHere makes a directory, with all that is mounted below it, read-only
// for the calling thread and for what this thread starts, and for nobody else.
// The thread is not fit for anything else afterwards.
func readOnlyHere(dir string) error {
	step := func(op, path string, err error) error {
		if err == nil {
			return nil
		}
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return step("unshare the mounts of", dir, err)
	}
	// What the host unmounts goes here, too; what is done here stays here.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return step("make a slave of", "/", err)
	}
	// A mount on the root would hide below it: nothing looks there again.
	if real, err := filepath.EvalSymlinks(dir); err != nil {
		return err
	} else if real != "/" {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return step("bind", dir, err)
		}
	}
	// Linux 5.12 is the first to do this for a whole tree.
	err := unix.MountSetattr(unix.AT_FDCWD, dir, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return step("make read-only", dir, err)
}
