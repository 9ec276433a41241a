package qemu

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// DetectAccel chooses the accelerator that runs guests on this host for this
// kind of guest. For TCG it also returns why KVM cannot be used, as a sentence
// to be said once.
func DetectAccel(t Type) (a Accel, reason string) {
	err := CheckKVM(t)
	if err == nil {
		return KVM, ""
	}
	return TCG, err.Error()
}

// CheckKVM returns nil if KVM can run a guest of the machine type here, and
// otherwise a [HostError]. That /dev/kvm opens is not enough: on a virtual
// machine whose own host passes no virtualisation on, it may open, create
// machines, and hang every ordinary kernel in its first moments.
func CheckKVM(t Type) error {
	return host{kvm: "/dev/kvm", cpuinfo: "/proc/cpuinfo", arch: runtime.GOARCH}.checkKVM(t)
}

// A host says where to look. Tests look elsewhere.
type host struct{ kvm, cpuinfo, arch string }

const tcgHint = "set accel=tcg to run slowly without KVM"

func (h host) checkKVM(t Type) error {
	guest := "amd64"
	if t.family() == Virt {
		guest = "arm64"
	}
	if h.arch != guest {
		return &HostError{Op: "use KVM", Err: errors.New("the guest's kind of processor is not this host's"), Hint: tcgHint}
	}
	f, err := os.OpenFile(h.kvm, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return h.openError(err)
	}
	defer f.Close()
	if h.arch == "amd64" && !cpuHas(h.cpuinfo, "vmx", "svm") {
		return &HostError{
			Op: "use KVM", Err: errors.New("the processor shows neither vmx nor svm, so KVM would hang the guest"),
			Hint: "enable virtualisation in the firmware, or nested virtualisation on the machine that runs this one",
		}
	}
	return nil
}

func (h host) openError(err error) error {
	he := &HostError{Op: "open " + h.kvm, Err: err, Hint: tcgHint}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		he.Err = pe.Err // Op names the file already
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		he.Hint = "load the kvm_intel or kvm_amd module, or " + tcgHint
	case errors.Is(err, fs.ErrPermission):
		he.Hint = "join the kvm group (usermod -aG kvm $USER) and log in again, or " + tcgHint
	}
	return he
}

// cpuHas reports whether the first processor in a cpuinfo file has one of the
// flags.
func cpuHas(path string, flags ...string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, _ := strings.Cut(s.Text(), ":"); strings.TrimSpace(key) == "flags" {
			return slices.ContainsFunc(strings.Fields(value), func(f string) bool { return slices.Contains(flags, f) })
		}
	}
	return false
}
