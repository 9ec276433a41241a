package test_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/kernel"
)

// hostDevices is what the guest of TestHostInAGuest has beside the usual: an IOMMU,
// a network card in an IOMMU group of its own, two cards in one group, and a USB
// device.
var hostDevices = []string{
	"-device", "intel-iommu",
	"-device", "e1000e,addr=0x10,romfile=",
	"-device", "pcie-pci-bridge,id=old,addr=0x11",
	"-device", "e1000,bus=old,addr=1,romfile=",
	"-device", "e1000,bus=old,addr=2,romfile=",
	"-device", "qemu-xhci", "-device", "usb-tablet",
}

// hostScript makes a root of the shares, with the checkout $1 where it is on the
// host, loads what a host with devices has, and runs the tests in it.
const hostScript = `set -e
root=/mnt/host
mkdir -p $root
mount -t tmpfs tmpfs $root
cd $root
mkdir -p usr etc proc sys dev run tmp test ".$1"
for dir in bin sbin lib lib64; do ln -s usr/$dir $dir; done
for dir in usr test; do mount --bind /host/$dir $dir; done
cp /host/etc/ld.so.cache /host/etc/passwd /host/etc/group etc
mount --bind /host/checkout ".$1"
for dir in proc sys dev; do mount --rbind /$dir $dir; done
exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/tmp /bin/sh -ec '
	cd "$1"
	ip link set lo up
	modprobe -d build/kernel-generic -a vhost_vsock vsock_loopback vhost_net tun bridge vfio-pci loop e1000 e1000e xhci-pci usbhid
	cd qemu && /test/qemu.test -test.v -test.run TestRealQEMUOnAHostWithDevices
	cp /test/vmlinux /tmp/ # QEMU reads it at every start
	/test/sdnotify.test -test.v -test.run TestListener
	cd ../test && /test/inside.test -test.v -test.run "^TestInside$|^TestClockJumps$"
' sh "$1"
`

// kernelOf is one of the kernels that scripts/setup unpacks.
func kernelOf(t *testing.T, name string) string {
	t.Helper()
	version, err := os.ReadFile(filepath.Join("../build", name, "VERSION"))
	if err != nil {
		t.Fatalf("%v (run: scripts/setup)", err)
	}
	path, err := filepath.Abs(filepath.Join("../build", name, "boot/vmlinuz-"+strings.TrimSpace(string(version))))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHostInAGuest runs tests where there is what no host of tests has to spare: in
// a guest.
func TestHostInAGuest(t *testing.T) {
	h := host(t)
	h.Limit = 3 * test.Limit // it is much for one guest
	dir := filepath.Join(h.Dir, "test")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"test", "-c", "-tags", "hostguest", "-o", filepath.Join(dir, "inside.test"), "./test"},
		{"test", "-c", "-tags", "hostguest", "-o", filepath.Join(dir, "qemu.test"), "./qemu"},
		{"test", "-c", "-tags", "hostguest", "-o", filepath.Join(dir, "sdnotify.test"), "./vm/sdnotify"},
		{"build", "-o", filepath.Join(dir, "mvm"), "./cmd/mvm"},
		{"build", "-o", filepath.Join(dir, "fakeqemu"), "./test/fakeqemu"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// A guest in the guest is booted from it; it would take long to unpack there.
	kernels := filepath.Join(dir, "kernels")
	vmlinux, err := kernel.Unpacked(t.Context(), kernels, kernelOf(t, "kernel"))
	if err == nil {
		err = os.Rename(vmlinux, filepath.Join(dir, "vmlinux"))
	}
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	generic := kernelOf(t, "kernel-generic")
	var shares strings.Builder
	for name, source := range map[string]string{"usr": "/usr", "etc": "/etc", "test": dir, "checkout": checkout} {
		fmt.Fprintf(&shares, "[[shares]]\nproto = \"virtiofs\"\ntag = %q\nsource = %q\nmountPoint = \"/host/%s\"\nreadOnly = true\n", name, source, name)
	}
	e := h.Start(write(t, filepath.Join(h.Dir, "host.toml"), fmt.Sprintf(`toplevel = %q
%s
kernel = %q
modules = %q
kernelParams = ["intel_iommu=on"]
vcpu = 2
mem = 1024
[qemu]
machine = "q35"
extraArgs = ["%s"]
%s`, example(t), storeDir(t), generic, strings.Replace(generic, "boot/vmlinuz-", "lib/modules/", 1),
		strings.Join(hostDevices, `", "`), &shares)), "--", "sh", "-c", hostScript, "sh", checkout).Wait()
	if e.Code != 0 {
		t.Errorf("the tests in the guest = %d; want 0", e.Code)
	}
	if e.Code != 0 || testing.Verbose() {
		t.Logf("they said:\n%s\n%s", e.Stdout, e.Stderr)
	}
}
