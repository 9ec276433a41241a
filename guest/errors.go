package guest

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/kmsg"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// A Failure is why a guest does not boot, in the three parts in which the host
// hears of it.
type Failure struct {
	Op     string // what was being done: "mount erofs on /nix/store"
	Err    error  // why it did not work: "no such device"
	Detail string // lines that may explain it, or ""
}

func (f *Failure) Error() string { return f.Op + ": " + f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// failure wraps err in a Failure, without saying twice which file it concerns.
func failure(op string, err error) *Failure {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) && strings.HasSuffix(op, pe.Path) {
		err = pe.Err
	}
	return &Failure{Op: op, Err: err}
}

// maxDetail keeps a message well within a frame, and within the host's socket
// buffer, so that writing it cannot block for long.
const maxDetail = 32 << 10

// message returns what to tell the host of err.
func message(err error) handoff.Failed {
	m := handoff.Failed{Op: "boot", Err: err.Error()}
	if f := (*Failure)(nil); errors.As(err, &f) {
		m = handoff.Failed{Op: f.Op, Err: f.Err.Error(), Detail: f.Detail}
	}
	if len(m.Detail) > maxDetail {
		m.Detail = m.Detail[:maxDetail]
	}
	m.Op, m.Err = strings.ToValidUTF8(m.Op, "?"), strings.ToValidUTF8(m.Err, "?")
	m.Detail = strings.ToValidUTF8(m.Detail, "?")
	return m
}

// kernelSays returns the kernel's last messages as a detail, indented under a
// heading, or "".
func kernelSays() string {
	lines := kmsg.Tail(12)
	if len(lines) == 0 {
		return ""
	}
	return "the kernel's last messages:\n  " + strings.Join(lines, "\n  ")
}

// retry calls a system call again while a signal interrupts it. The Go runtime
// interrupts its own threads to preempt them.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
