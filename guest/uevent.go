package guest

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// uevents is the kernel's announcements that devices have come. It must be
// opened before the first look for a device, so that none can come unnoticed
// between a look and a wait.
type uevents struct{ fd int }

func openUevents() (uevents, error) {
	const kernelGroup = 1 // group 2 is udev's
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return uevents{-1}, fmt.Errorf("open the kernel's device events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return uevents{-1}, fmt.Errorf("bind the kernel's device events: %w", err)
	}
	return uevents{fd}, nil
}

func (u uevents) close() { unix.Close(u.fd) }

// wait returns true once something happened to a device since the last wait,
// and false when the time is up.
func (u uevents) wait(until time.Time) bool {
	for {
		left := time.Until(until)
		if left <= 0 {
			return false
		}
		ms := int(left/time.Millisecond) + 1
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(u.fd), Events: unix.POLLIN}}, ms)
		if err == nil && n > 0 {
			u.drain()
			return true
		}
	}
}

// drain reads everything there is. What it says does not matter: whoever
// waits looks at sysfs again. ENOBUFS means that there was too much to keep,
// so that something did happen.
func (u uevents) drain() {
	buf := make([]byte, 8<<10) // BUFFER_SIZE of the kernel's uevents is 2 KiB
	for {
		if _, err := unix.Read(u.fd, buf); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
			return
		}
	}
}
