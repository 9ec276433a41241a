package hostdev

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// slack is what QEMU locks beside the guest's memory, in bytes: ROMs and the like.
const slack = 64 << 20

// AllowLocking lets this process and those that it starts lock as much memory as a
// machine with PCI devices of the host needs, in MiB: the devices may write anywhere
// in it, so all of it stays in place. The error is a [HostError].
func AllowLocking(mib int) error {
	want := uint64(mib)<<20 + slack
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	if limit.Cur >= want {
		return nil
	}
	raised := unix.Rlimit{Cur: want, Max: max(limit.Max, want)}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &raised); err != nil {
		return &HostError{
			Op:   "let QEMU lock the guest's memory",
			Err:  fmt.Errorf("%d MiB are needed, and the limit is %d MiB: %w", want>>20, limit.Max>>20, err),
			Hint: "raise the limit on locked memory: ulimit -l, memlock in limits.conf(5), or LimitMEMLOCK= of a unit",
		}
	}
	return nil
}
