package qemu

import (
	"bytes"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IOUring returns nil if this host lets programs use io_uring, found out by
// using it: kernels have it and have it switched off, by a sysctl, by the
// filter of a container, or at build time. The error is a [HostError].
func IOUring() error {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno == 0 {
		if err := unix.Close(int(fd)); err != nil || !uringForRoot() {
			return err
		}
		errno = unix.EPERM
	}
	e := &HostError{Op: "set up io_uring", Err: errno, Hint: "use aio=threads"}
	if errors.Is(errno, unix.EPERM) {
		e.Hint = "set the sysctl kernel.io_uring_disabled to 0, or use aio=threads"
	}
	return e
}

// uringForRoot reports whether this process could use io_uring for its
// privileges alone, which QEMU will not have.
func uringForRoot() bool {
	b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	return err == nil && os.Geteuid() == 0 && string(bytes.TrimSpace(b)) != "0"
}
