package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata from the current output")

func TestMachineArgs(t *testing.T) {
	for _, s := range samples {
		t.Run(s.golden, func(t *testing.T) {
			m := s.machine()
			if err := m.Check(); err != nil {
				t.Errorf("Check() = %v; want nil", err)
			}
			golden(t, filepath.Join("argv", s.golden), pretty(m.Args()))
		})
	}
}

func TestMachineExplain(t *testing.T) {
	for _, name := range []string{"drives", "everything"} {
		i := slices.IndexFunc(samples, func(s sample) bool { return s.golden == name })
		m := samples[i].machine()
		var b strings.Builder
		for _, f := range m.Explain() {
			b.WriteString(strings.Join(f.Args, " ") + "    # " + f.Why + "\n")
			if f.Why == "" {
				t.Errorf("Explain() gives no reason for %q", f.Args)
			}
		}
		golden(t, filepath.Join("why", name), b.String())
	}
}

func TestArgsAreDeterministic(t *testing.T) {
	for _, s := range samples {
		m := s.machine()
		want := m.Args()
		for range 20 {
			if diff := cmp.Diff(want, m.Args()); diff != "" {
				t.Fatalf("%s: Args() differs between calls (-first +later):\n%s", s.golden, diff)
			}
		}
	}
}

func TestFilesAreNumberedInOrder(t *testing.T) {
	m := base()
	m.Credentials = []Credential{{Name: "a", File: "cred"}}
	m.Shares = []Share{{Tag: "a", SocketFile: "fs"}}
	m.NICs = []NIC{{Tap: &TapNet{Files: []string{"q0", "q1"}}}}
	want := []string{"cred", "fs", "q0", "q1"}
	if diff := cmp.Diff(want, m.Files()); diff != "" {
		t.Errorf("Files() (-want +got):\n%s", diff)
	}
	if args := strings.Join(m.Args(), " "); !strings.Contains(args, "fds=8:9") {
		t.Errorf("Args() = %s; want fds=8:9, the descriptors after 3 to 5 of Start, 6 and 7", args)
	}
}

func TestKernelParams(t *testing.T) {
	tests := []struct {
		m    Machine
		want string
	}{
		{Machine{}, "reboot=t panic=-1"},
		{Machine{Console: true}, "console=ttyS0 reboot=t panic=-1"},
		{Machine{TSCKHz: 2600000}, "reboot=t panic=-1 tsc_early_khz=2600000 tsc=reliable"},
		{Machine{TSCKHz: 2600000, Accel: KVM}, "reboot=t panic=-1"},
		{Machine{TSCKHz: 2600000, Type: Q35}, "reboot=t panic=-1 no_timer_check tsc_early_khz=2600000 tsc=reliable"},
		{Machine{Type: Q35}, "reboot=t panic=-1 no_timer_check"},
		{Machine{Type: Q35, Accel: KVM}, "reboot=t panic=-1"},
		{Machine{TSCKHz: 2600000, Type: Virt, Console: true}, "console=ttyAMA0 panic=-1"},
	}
	for _, tt := range tests {
		if got := strings.Join(tt.m.KernelParams(), " "); got != tt.want {
			t.Errorf("KernelParams() of %+v = %q; want %q", tt.m, got, tt.want)
		}
	}
}

func TestWithoutClock(t *testing.T) {
	tests := []struct {
		console string
		want    bool
	}{
		{"", false},
		{"[    2.1] ACPI: Using IOAPIC for interrupt routing\r\n", false},
		{"[    2.1] APIC frequency too slow, disabling apic timer\r\n[    2.2] ACPI: …", true},
		{"[    0.0] tsc: Marking TSC unstable due to could not calculate TSC khz\r\n", true},
	}
	for _, tt := range tests {
		if got := WithoutClock([]byte(tt.console)); got != tt.want {
			t.Errorf("WithoutClock(%q) = %v; want %v", tt.console, got, tt.want)
		}
	}
}

func TestNeedsPCI(t *testing.T) {
	many := make([]Drive, 25)
	tests := []struct {
		name string
		m    Machine
		want bool
	}{
		{"zero", Machine{}, false},
		{"asked for", Machine{PCI: true}, true},
		{"q35", Machine{Type: Q35}, true},
		{"shares", Machine{Shares: []Share{{Tag: "a", Path: "/a"}, {Tag: "b", Socket: "/b"}}}, false},
		{"usb device", Machine{Devices: []HostDevice{{USB: []Prop{{"vendorid", "1"}}}}}, true},
		{"23 drives and the rng", Machine{Drives: many[:23]}, false},
		{"24 drives and the rng", Machine{Drives: many[:24]}, true},
		{"graphics", Machine{Graphics: &Graphics{}}, true},
	}
	for _, tt := range tests {
		if got := tt.m.NeedsPCI(); got != tt.want {
			t.Errorf("%s: NeedsPCI() = %v; want %v", tt.name, got, tt.want)
		}
	}
}

// golden compares got with a file in testdata, or rewrites the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run: go test ./qemu -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s changed (-want +got); if intended, run go test ./qemu -update:\n%s", name, diff)
	}
}

// pretty puts each option and its value on one line, so that a review of a
// golden file reads like a review of a command.
func pretty(args []string) string {
	var b strings.Builder
	for i, a := range args {
		switch {
		case i == 0:
		case strings.HasPrefix(a, "-"):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(a)
	}
	return b.String() + "\n"
}
