//go:build hostguest

package test_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/vsock"
)

// The tests in this file run in the guest of TestHostInAGuest, which is a host with
// an IOMMU, spare devices, and a kernel with vhost. A guest in that guest is
// translated twice and takes minutes to boot, so only its QEMU is waited for.

// inside returns a host in the guest.
func inside(t *testing.T) *test.Host {
	t.Helper()
	test.Program = "/test/mvm"
	return test.NewHost(t)
}

// defineInside writes a definition of a guest that gets as far as its kernel.
func defineInside(t *testing.T, h *test.Host, name, more string) string {
	t.Helper()
	version, err := os.ReadFile("../build/kernel/VERSION")
	if err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs("../build/kernel/lib/modules/" + strings.TrimSpace(string(version)))
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(h.Dir, "nix/store")
	only := filepath.Join(store, "00000000000000000000000000000000-only")
	if err := os.MkdirAll(only, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.Dir, "store-paths"), only+"\n")
	return write(t, filepath.Join(h.Dir, name+".toml"), fmt.Sprintf(
		"kernel = \"/tmp/vmlinux\"\nmodules = %q\nstoreDir = %q\nclosureInfo = %q\ninit = [%q]\nmem = 64\n%s",
		modules, store, h.Dir, handoff.PoweroffPath, more))
}

// runs waits until QEMU has all its devices.
func runs(t *testing.T, h *test.Host, name, more string) *test.VM {
	t.Helper()
	v := h.Start(defineInside(t, h, name, more))
	v.Await(" runs as process ")
	return v
}

// answered is the machine's status, once mvm has the time to answer: this host is
// slow.
func answered(v *test.VM) control.Status {
	for {
		if s := v.Status(); s.State != "unknown" {
			return s
		}
	}
}

// end kills the machine.
func end(t *testing.T, h *test.Host, v *test.VM) {
	t.Helper()
	if e := h.Mvm("kill", v.Name); e.Code != 0 {
		t.Errorf("mvm kill %s = %d; want 0\n%s", v.Name, e.Code, e.Stderr)
	}
	v.Wait()
}

// claimCID takes a context id from the kernel.
func claimCID(t *testing.T, cid uint64) (*os.File, error) {
	t.Helper()
	f, err := os.OpenFile(vsock.Device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), 0x4008AF60, uintptr(unsafe.Pointer(&cid))); errno != 0 {
		return nil, errno
	}
	return f, nil
}

// driver is the driver of a PCI device, "" for none.
func driver(address string) string {
	to, err := os.Readlink("/sys/bus/pci/devices/" + address + "/driver")
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func wantDriver(t *testing.T, when, address, want string) {
	t.Helper()
	if got := driver(address); got != want {
		t.Errorf("%s the driver of %s is %q; want %q", when, address, got, want)
	}
}

// given are lines of a definition that give a machine devices of the host.
func given(bus string, paths ...string) string {
	var b strings.Builder
	for _, p := range paths {
		fmt.Fprintf(&b, "[[devices]]\nbus = %q\npath = %q\n", bus, p)
	}
	return b.String()
}

// refused checks that a machine does not start.
func refused(t *testing.T, h *test.Host, name, more string, want ...string) test.Ended {
	t.Helper()
	e := h.Start(defineInside(t, h, name, more)).Wait()
	checkEnd(t, e, 101, want...)
	return e
}

// TestInside gives machines what they share with no other: a context id, network
// cards, and QEMU's own tablet, which it shows to the guest that is this host.
func TestInside(t *testing.T) {
	const (
		spare, one, two = "0000:00:10.0", "0000:01:01.0", "0000:01:02.0"
		cidHint         = `hint: stop the other machine, or set vsock.cid to another number or "auto"`
	)
	h := inside(t)
	wantDriver(t, "at first", spare, "e1000e")
	v := runs(t, h, "all", "vsock.cid = 42\n"+given("pci", "00:10.0")+given("usb", "vendorid=0x0627,productid=0x0001"))
	if got := answered(v).VSockCID; got != 42 {
		t.Errorf("the machine's context id is %d; want 42", got)
	}
	if _, err := claimCID(t, 42); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the kernel gives its context id away: %v; want %v", err, syscall.EADDRINUSE)
	}
	wantDriver(t, "while the machine runs", spare, "vfio-pci")
	refused(t, h, "same-id", "vsock.cid = 42",
		fmt.Sprintf("error: claim the context id 42 for vsock: another machine of this host has it: process %d", v.PID()), cidHint)
	refused(t, h, "same-card", given("pci", spare),
		"error: hand on PCI device "+spare+": another machine has it, or one of its IOMMU group [0-9]+",
		"hint: stop the other machine")

	// The next run takes back what one that is killed could not.
	qemu := answered(v).QEMU
	v.Signal(syscall.SIGKILL)
	v.Wait()
	for exists := true; exists; { // QEMU follows as fast as the kernel can end it
		_, err := os.Stat(fmt.Sprintf("/proc/%d", qemu))
		exists = err == nil
	}
	wantDriver(t, "when mvm was killed", spare, "vfio-pci")
	free, err := claimCID(t, 42)
	if err != nil {
		t.Fatalf("the context id after the machine's end: %v; want it free", err)
	}
	refused(t, h, "foreign-id", "vsock.cid = 42",
		"error: claim the context id 42 for vsock: another machine of this host has it: a guest that mvm does not run", cidHint)
	free.Close()
	if _, err := claimCID(t, uint64(vsock.Candidate("all", 0))); err != nil {
		t.Fatal(err)
	}
	v = runs(t, h, "all", `vsock.cid = "auto"`)
	wantDriver(t, "after the next start", spare, "e1000e")
	if got, want := answered(v).VSockCID, vsock.Candidate("all", 1); got != want {
		t.Errorf("the context id that was picked is %d; want %d, since the one before is taken", got, want)
	}
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", answered(v).QEMU))
	if err != nil || !strings.Contains(string(argv), "name=opt/io.systemd.credentials/vmm.notify_socket,") {
		t.Errorf("QEMU's command line: %q, %v; want where the guest's systemd is to say how it is", argv, err)
	}
	end(t, h, v)

	refused(t, h, "no-usb", given("usb", "vendorid=0x1234,productid=0x5678"),
		`error: devices\[0\]: find USB device with vendor 0x1234, product 0x5678: none is plugged in`,
		"hint: plug it in before the machine starts; lsusb lists those that are there")
	half := refused(t, h, "half", given("pci", one, "0000:00:1e.7"),
		"error: find PCI device 0000:00:1e.7: this host has none at that address",
		"hint: lspci -D lists the addresses",
		"hint: give the machine all of them as devices, or take them from their drivers")
	group, err := os.Readlink("/sys/bus/pci/devices/" + one + "/iommu_group")
	if err != nil {
		t.Fatal(err)
	}
	want := "hand on PCI device " + one + ": the host uses others of its IOMMU group " + filepath.Base(group) + ": " + two + " (e1000)\n"
	if !strings.Contains(half.Stderr, want) {
		t.Errorf("mvm said %q; want %q", half.Stderr, want)
	}
	wantDriver(t, "after a refusal", one, "e1000")
	v = runs(t, h, "both", given("pci", one, two))
	wantDriver(t, "while the machine runs", two, "vfio-pci")
	end(t, h, v)
	for _, a := range []string{one, two} {
		wantDriver(t, "after the end", a, "e1000")
	}
	if _, err := os.Stat(h.Dirs().Machine("both").Borrowed()); !os.IsNotExist(err) {
		t.Errorf("what was borrowed is still noted: %v", err)
	}
}
