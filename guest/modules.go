package guest

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loadModules loads the named files of a directory in the given order.
//
// EEXIST means that the kernel has the module already. ENODEV means that the
// module found nothing to drive and left again: of the many providers of
// crc32c, the host includes those that need a CPU's instruction too, and does
// not know the guest's CPU. What is then missing is said by the mount that
// needs it.
func loadModules(dir string, names []string) error {
	for _, name := range names {
		err := loadModule(filepath.Join(dir, name))
		if err == nil || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
			continue
		}
		f := failure("load kernel module "+name, err)
		f.Detail = kernelSays()
		return f
	}
	return nil
}

func loadModule(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return retry(func() error { return unix.FinitModule(fd, "", 0) })
}
