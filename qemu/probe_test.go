package qemu

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProbeOfTheRealQEMU(t *testing.T) {
	c, err := Probe(limited(t), "qemu-system-x86_64")
	if err != nil {
		t.Fatalf("%v (the tests need qemu-system-x86)", err)
	}
	if !c.Version.AtLeast(7, 2) || !c.Sandbox || !c.HasAccel(TCG) || !c.HasAccel(KVM) || !c.Fresh() {
		t.Errorf("Probe() = %v, sandbox %v, accelerators %v", c.Version, c.Sandbox, c.Accels)
	}
	for _, m := range []Type{"", MicroVM, Q35} {
		if !c.HasMachine(m) {
			t.Errorf("HasMachine(%q) = false", m)
		}
	}
	if c.HasMachine(Virt) || c.HasDevice("nonesuch") {
		t.Error("an x86 QEMU has a virt machine or a nonesuch device")
	}
	for _, s := range samples {
		m := s.machine()
		if m.family() == Virt || m.Graphics != nil {
			continue
		}
		if err := c.Check(&m); err != nil {
			t.Errorf("Check(%s) = %v; want nil", s.golden, err)
		}
	}
	if slices.Contains(c.Accels, "accel") || slices.Contains(c.Accels, "") {
		t.Errorf("accelerators = %q; want names", c.Accels)
	}
	if !slices.Contains(c.Displays, "none") || !slices.Contains(c.Netdevs, "tap") {
		t.Errorf("displays are %q and networks %q; want none and tap among them", c.Displays, c.Netdevs)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var again Capabilities
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, again); diff != "" || !again.Fresh() {
		t.Errorf("through JSON (-before +after):\n%s", diff)
	}
}

func TestProbeFailsOnWhatIsNoQEMU(t *testing.T) {
	tests := []struct{ binary, hint string }{
		{"qemu-system-nonesuch", "install qemu-system-x86"},
		{"/nonesuch/qemu-system-aarch64", "install qemu-system-arm"},
		{"/bin/true", "system emulator"},
	}
	for _, tt := range tests {
		_, err := Probe(limited(t), tt.binary)
		var he *HostError
		if !errors.As(err, &he) || !strings.Contains(he.Hint, tt.hint) {
			t.Errorf("Probe(%s) = %v; want a hint with %q", tt.binary, err, tt.hint)
		}
	}
}

func TestCapabilitiesCheckNamesWhatIsMissing(t *testing.T) {
	full := Capabilities{
		Path: "/q", Version: Version{Major: 7, Minor: 1}, Accels: []string{"tcg"}, Machines: []string{"microvm"}, Sandbox: true,
		Devices:  []string{"i8042", "pvpanic", "virtio-rng-device", "virtio-net-device"},
		Displays: []string{"none"}, Netdevs: []string{"tap"},
	}
	tests := []struct {
		name string
		edit func(*Capabilities, *Machine)
		want string
	}{
		{"all there", func(*Capabilities, *Machine) {}, ""},
		{"machine", func(_ *Capabilities, m *Machine) { m.Type = Q35 }, `check /q: version 7.1.0 has no machine "q35", no device "virtio-rng-pci"`},
		{"accelerator", func(_ *Capabilities, m *Machine) { m.Accel = KVM }, `check /q: version 7.1.0 has no accelerator "kvm"`},
		{"sandbox", func(c *Capabilities, _ *Machine) { c.Sandbox = false }, `check /q: version 7.1.0 has no sandbox`},
		{"sandbox not wanted", func(c *Capabilities, m *Machine) { c.Sandbox, m.NoSandbox = false, true }, ""},
		{"all that is missing, once each", func(c *Capabilities, m *Machine) {
			m.Type, m.Accel, m.Graphics = Q35, KVM, &Graphics{Backend: "headless"}
			m.Drives = []Drive{{ID: "a", Path: "/a"}, {ID: "b", Path: "/b"}}
			m.NICs = []NIC{{User: &UserNet{}}}
			c.Devices = []string{"pvpanic", "virtio-rng-pci", "virtio-net-pci", "qemu-xhci"}
		}, `check /q: version 7.1.0 has no machine "q35", no accelerator "kvm", no device "virtio-blk-pci", no network "user", ` +
			`no display "egl-headless", no device "virtio-gpu-gl-pci", no device "usb-tablet", no device "usb-kbd"`},
		{"device", func(_ *Capabilities, m *Machine) { m.Balloon = true }, `check /q: version 7.1.0 has no device "virtio-balloon-device"`},
		{"stream", func(_ *Capabilities, m *Machine) { m.NICs = []NIC{{Stream: &StreamNet{}}} }, `check /q: version 7.1.0 has no network "stream"`},
		{"extra arguments are not judged", func(_ *Capabilities, m *Machine) { m.ExtraArgs = []string{"-device", "x"} }, ""},
	}
	for _, tt := range tests {
		c, m := full, Machine{}
		tt.edit(&c, &m)
		err := c.Check(&m)
		if got := errorText(err); got != tt.want {
			t.Errorf("%s: Check() = %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestFreshSeesAnotherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c := Capabilities{Path: path, Size: fi.Size(), ModTime: fi.ModTime()}
	if !c.Fresh() {
		t.Error("Fresh() = false; want true")
	}
	if err := os.Chtimes(path, time.Time{}, fi.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if c.Fresh() {
		t.Error("Fresh() after a change = true; want false")
	}
}

func TestKVMIsUsedOnlyIfItCanRunAGuest(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kvm := file("kvm", "")
	intel := file("intel", "processor\t: 0\nflags\t\t: fpu vmx sse\n")
	amd := file("amd", "flags\t\t: fpu svm\n")
	nested := file("nested", "flags\t\t: fpu hypervisor vmxish\nvmx flags\t: vnmi\n")
	none := filepath.Join(dir, "none")
	tests := []struct {
		name string
		h    host
		t    Type
		want string
	}{
		{"intel", host{kvm, intel, "amd64"}, MicroVM, ""},
		{"amd", host{kvm, amd, "amd64"}, Q35, ""},
		{"arm", host{kvm, none, "arm64"}, Virt, ""},
		{"no flag", host{kvm, nested, "amd64"}, "", "use KVM: the processor shows neither vmx nor svm, so KVM would hang the guest"},
		{"no cpuinfo", host{kvm, none, "amd64"}, "", "use KVM: the processor shows neither vmx nor svm, so KVM would hang the guest"},
		{"no device", host{none, intel, "amd64"}, "", "open " + none + ": no such file or directory"},
		{"foreign guest", host{kvm, intel, "amd64"}, Virt, "use KVM: the guest's kind of processor is not this host's"},
		{"foreign host", host{kvm, none, "arm64"}, Q35, "use KVM: the guest's kind of processor is not this host's"},
	}
	for _, tt := range tests {
		err := tt.h.checkKVM(tt.t)
		if got := errorText(err); got != tt.want {
			t.Errorf("%s: checkKVM() = %q; want %q", tt.name, got, tt.want)
		}
		var he *HostError
		if err != nil && (!errors.As(err, &he) || he.Hint == "") {
			t.Errorf("%s: no hint", tt.name)
		}
	}
}

func TestDetectAccelGivesAReasonForTCG(t *testing.T) {
	a, reason := DetectAccel(MicroVM)
	if (a == TCG) != (reason != "") {
		t.Errorf("DetectAccel() = %s, %q; want a reason exactly for tcg", a, reason)
	}
}

func TestIOUringSaysWhyNot(t *testing.T) {
	var he *HostError
	if err := IOUring(); err != nil && (!errors.As(err, &he) || he.Hint == "") {
		t.Errorf("IOUring() = %v; want nil or a HostError with a hint", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
