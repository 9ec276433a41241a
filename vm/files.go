package vm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The names of files that QEMU inherits: see [qemu.Machine.Files].
const (
	kernelFile = "kernel"
	initrdFile = "initrd"
)

func diskFile(id string) string { return "disk " + id }

// openFiles opens what QEMU reads and writes, so that QEMU needs neither the
// permission to open it nor to find it: its user may be one who owns nothing,
// and it has no capability to make up for that. The files are added to files,
// where the volumes are already.
func openFiles(p *program, files map[string]*os.File) error {
	m, cred := &p.machine, p.cred
	if cred == nil {
		cred = ownCredential()
	}
	if m.MonitorFile != "" {
		// QEMU's start closes what it is given, and this is to stay.
		fd, err := unix.FcntlInt(p.monitor.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("dup", err)
		}
		files[m.MonitorFile] = os.NewFile(uintptr(fd), m.MonitorFile)
	}
	for _, once := range []struct{ name, path, key string }{
		{m.KernelFile, m.Kernel, "kernel"}, {m.InitrdFile, m.Initrd, "initrdPath"},
	} {
		if once.name == "" {
			continue
		}
		f, err := openReadable(once.path, once.name, cred)
		if err != nil {
			return &HostError{Op: once.key, Err: err, Hint: "see that nobody removes or replaces it while a machine starts"}
		}
		files[once.name] = f
	}
	for i := range m.Drives {
		d := &m.Drives[i]
		if d.File == "" || files[d.File] != nil {
			continue
		}
		f, err := openDisk(d.Path, d.Writable)
		if err != nil {
			return &HostError{Op: d.Why, Err: err, Hint: "let the user who runs mvm open the image"}
		}
		files[d.File] = f
	}
	return nil
}

func openDisk(path string, writable bool) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// Anything else could keep the opening waiting for ever.
	if !fi.Mode().IsRegular() && fi.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is neither a file nor a block device")}
	}
	mode := os.O_RDONLY
	if writable {
		mode = os.O_RDWR
	}
	return os.OpenFile(path, mode, 0)
}

// openReadable opens a file that QEMU will open again by its descriptor, as the
// user of cred: the way to it is no matter then, but its own mode is. A file whose
// mode forbids that is copied into memory.
func openReadable(path, name string, cred *syscall.Credential) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if permits(fi, cred, 0o4) {
		return f, nil
	}
	defer f.Close()
	copied, err := inMemory(f, name)
	if err != nil {
		return nil, fmt.Errorf("copy %s, which QEMU's user may not read: %w", path, err)
	}
	return copied, nil
}

// inMemory copies r to a file that has no path and that whoever holds it may
// open anew.
func inMemory(r io.Reader, name string) (*os.File, error) {
	fd, err := unix.MemfdCreate("mvm "+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	w := os.NewFile(uintptr(fd), name)
	defer w.Close()
	if _, err := io.Copy(w, r); err != nil {
		return nil, err
	}
	if err := w.Chmod(0o444); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}
