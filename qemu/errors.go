package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/mvmrun/mvm/qemu/internal/qmpconn"
)

// A HostError is something that this host lacks. It says what was attempted,
// why that failed, and what the reader can do about it.
type HostError struct {
	Op   string // what was tried: "open /dev/kvm"
	Err  error  // why it failed
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// A CommandError is QEMU's refusal of a QMP command.
type CommandError = qmpconn.CommandError

// ErrClosed is matched by the error of a QMP call when QEMU is no longer there
// to answer it, or has broken the protocol.
var ErrClosed = qmpconn.ErrClosed

// An ExitError is an end of QEMU with a status other than 0, or by a signal.
type ExitError struct {
	Code   int            // the exit status, or -1 after a signal
	Signal syscall.Signal // 0 without a signal
	Stderr string         // the last of what QEMU wrote, may be empty
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("QEMU exited with status %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("QEMU was ended by signal %d (%v)", int(e.Signal), e.Signal)
	}
	if line := telling(e.Stderr); line != "" {
		return how + ": " + line
	}
	return how
}

// exitError returns what is wrong with how QEMU ended, or nil. A cause that is
// known comes as a HostError.
func exitError(s *os.ProcessState, stderr string) error {
	if s.Success() {
		return nil
	}
	e := &ExitError{Code: s.ExitCode(), Stderr: stderr}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = ws.Signal()
	}
	if e.Signal == syscall.SIGSYS {
		return &HostError{Op: "run QEMU in its sandbox", Err: e,
			Hint: "look in the kernel's log for the system call that was denied, and report it"}
	}
	if f := diagnose(stderr); f != nil {
		return &HostError{Op: f.op, Err: e, Hint: f.hint}
	}
	return e
}

// A failure is a well-known way for QEMU to end.
type failure struct {
	sign string // what stderr holds
	op   string
	hint string
}

// failures lists the more telling signs first. The texts are QEMU 7.2's, and
// shorter than QEMU's own lines where these differ between versions.
var failures = []failure{
	{"failed to set MSR", "start QEMU with KVM", "pass accel=tcg, or set cpu to a model other than host: this host's nested KVM lacks a register that the model has"},
	{"Could not access KVM kernel module: Permission denied", "open /dev/kvm", "join the kvm group (usermod -aG kvm $USER) and log in again, or set accel=tcg"},
	{"Could not access KVM kernel module", "open /dev/kvm", "load the kvm_intel or kvm_amd module, or set accel=tcg"},
	{"failed to initialize kvm", "start QEMU with KVM", "set accel=tcg to run slowly without KVM"},
	{"invalid accelerator kvm", "start QEMU with KVM", "install a QEMU that has KVM, or set accel=tcg"},
	{`Failed to get "write" lock`, "lock a disk image", "stop the other machine that uses this image"},
	{`Failed to get shared "write" lock`, "lock a disk image", "stop the other machine that writes to this image"},
	{"could not open kernel file", "load the kernel", "check that kernel names a file that you can read"},
	{"kernel too old", "load the kernel", "check that kernel names an x86 bzImage or an uncompressed vmlinux"},
	{"could not load kernel", "load the kernel", "check that kernel names an x86 bzImage or an aarch64 Image that you can read"},
	{"could not load initrd", "load the initrd", "check that initrdPath names a file that you can read"},
	{"error reading initrd", "load the initrd", "check that initrdPath names a file that you can read"},
	{"invalid kernel header", "load the kernel", "check that kernel names an x86 bzImage or an aarch64 Image that you can read"},
	{"Cannot allocate memory", "allocate the guest's memory", "lower mem, or free memory on the host"},
	{"cannot set up guest memory", "allocate the guest's memory", "lower mem, or free memory on the host"},
	{"is not a valid device model name", "make a device", "install the complete QEMU package: this one lacks a device"},
	{"aio=io_uring", "open a disk image", "this QEMU or kernel lacks io_uring: use aio=threads"},
	{"seccomp", "start QEMU's sandbox", "install a QEMU that was built with seccomp"},
	{"gtk initialization failed", "open a window for the guest", `run the machine from a desktop's terminal, or set graphics.backend = "headless"`},
	{"no drm render node", "find a GPU to draw with", "load the driver of the GPU, or vgem to draw without one"},
	{"/dev/vhost-vsock", "open /dev/vhost-vsock", "load the vhost_vsock module"},
	{"/dev/net/tun", "open /dev/net/tun", "load the tun module, or check who may open it"},
}

func diagnose(stderr string) *failure {
	for i := range failures {
		if strings.Contains(stderr, failures[i].sign) {
			return &failures[i]
		}
	}
	return nil
}

// telling returns the line of stderr that says most: that of a known failure,
// or else the last, since QEMU's warnings come first. The program's own name
// is left out.
func telling(stderr string) string {
	sign := ""
	if f := diagnose(stderr); f != nil {
		sign = f.sign
	}
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		last = line
		if sign != "" && strings.Contains(line, sign) {
			break
		}
	}
	if name, rest, ok := strings.Cut(last, ": "); ok && strings.HasPrefix(name, "qemu-system-") {
		return rest
	}
	return last
}

// launchError says why the program at path could not be executed.
func launchError(path string, err error) error {
	// Go's message is "fork/exec path: why".
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) && pe.Path == path {
		err = pe.Err
	}
	e := &HostError{Op: "start " + path, Err: err, Hint: "check that this host has processes, files and memory to spare"}
	switch {
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, fs.ErrNotExist):
		e.Hint = "check that it is a program for this kind of host"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "check that the user whom the machine runs as may execute it"
	}
	return e
}

// Program returns the usual name of the QEMU for the machine type.
func Program(t Type) string {
	if t.family() == Virt {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// Find returns the path of a QEMU. An empty name means the usual name of the
// one for the machine type. The error is a [HostError].
func Find(name string, t Type) (string, error) {
	pkg := "qemu-system-x86"
	if t.family() == Virt || strings.Contains(name, "aarch64") {
		pkg = "qemu-system-arm"
	}
	if name == "" {
		name = Program(t)
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	// Op names the program already.
	if ee := (*exec.Error)(nil); errors.As(err, &ee) {
		err = ee.Err
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	hint := "install " + pkg + ", or name another program by qemu.package"
	if errors.Is(err, fs.ErrPermission) {
		hint = "check that you may execute it"
	}
	return "", &HostError{Op: "find " + name, Err: err, Hint: hint}
}
