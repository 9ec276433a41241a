package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/mounts"
)

// A fakeDisk is a disk of a made-up sysfs.
type fakeDisk struct {
	name, serial, label string
	readOnly            bool
}

// makeDisks makes a tree with the disks; one with a label holds an erofs.
func makeDisks(t *testing.T, list ...fakeDisk) disks {
	t.Helper()
	ds := disks{sys: filepath.Join(t.TempDir(), "block"), dev: t.TempDir()}
	for _, d := range list {
		ds.add(t, d)
	}
	return ds
}

func (ds disks) add(t *testing.T, d fakeDisk) {
	t.Helper()
	dir := filepath.Join(ds.sys, d.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	image := make([]byte, 8192)
	if d.label != "" {
		copy(image[1024:], "\xe2\xe1\xf5\xe0")
		copy(image[1024+64:], d.label)
	}
	ro := "0\n"
	if d.readOnly {
		ro = "1\n"
	}
	files := map[string]string{
		filepath.Join(ds.dev, d.name): string(image),
		filepath.Join(dir, "size"):    "2048\n",
		filepath.Join(dir, "ro"):      ro,
	}
	if d.serial != "" {
		files[filepath.Join(dir, "serial")] = d.serial // without a newline, as virtio has it
	}
	for path, content := range files {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindDisk(t *testing.T) {
	ds := makeDisks(t,
		fakeDisk{name: "loop0", serial: "store", label: "store"},
		fakeDisk{name: "ram0", label: "plain"},
		fakeDisk{name: "vda", serial: "store", label: "nix-store", readOnly: true},
		fakeDisk{name: "vdb", serial: "data", label: "twice"},
		fakeDisk{name: "vdc", serial: "other", label: "twice"},
		fakeDisk{name: "vdd", label: "plain"},
		fakeDisk{name: "vde", serial: "dup"},
		fakeDisk{name: "vdf", serial: "dup"},
	)
	tests := []struct {
		name string
		want mounts.Disk
		last bool
		path string // its base
		err  string
	}{
		{"serial", mounts.Disk{Serial: "store"}, false, "vda", ""},
		{"serial over label", mounts.Disk{Serial: "data", Label: "plain"}, false, "vdb", ""},
		{"label of a disk without serial", mounts.Disk{Serial: "gone", Label: "plain"}, false, "vdd", ""},
		{"label of a disk with another serial may still be wrong", mounts.Disk{Serial: "gone", Label: "nix-store"}, false, "", ""},
		{"and is taken at last", mounts.Disk{Serial: "gone", Label: "nix-store"}, true, "vda", ""},
		{"label alone", mounts.Disk{Label: "nix-store"}, false, "vda", ""},
		{"two of one label", mounts.Disk{Label: "twice"}, true, "", `both DEV/vdb and DEV/vdc have the label "twice"`},
		{"two of one serial", mounts.Disk{Serial: "dup"}, false, "", `both DEV/vde and DEV/vdf have the serial "dup"`},
		{"position", mounts.Disk{Position: 3}, false, "vdd", ""},
		{"position is not used for a disk with a name", mounts.Disk{Serial: "gone", Position: 3}, true, "", ""},
		{"not there", mounts.Disk{Position: 25}, true, "", ""},
		{"position unknown", mounts.Disk{Position: -1}, true, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ds.find(&tt.want, tt.last)
			var got string
			if d != nil {
				got = filepath.Base(d.path)
			}
			if e := strings.ReplaceAll(errorText(err), ds.dev, "DEV"); got != tt.path || e != tt.err {
				t.Errorf("find(%+v, %v) = %q, %q; want %q, %q", tt.want, tt.last, got, e, tt.path, tt.err)
			}
		})
	}
}

func TestLetter(t *testing.T) {
	for n, want := range map[int]string{0: "vda", 25: "vdz", 26: "vdaa", 51: "vdaz", 52: "vdba", 701: "vdzz", 702: "vdaaa"} {
		if got := letter(n); got != want {
			t.Errorf("letter(%d) = %q; want %q", n, got, want)
		}
	}
}

func TestMissingDiskListsWhatIsThere(t *testing.T) {
	events, err := openUevents()
	if err != nil {
		t.Fatal(err)
	}
	defer events.close()
	ds := makeDisks(t, fakeDisk{name: "vda", serial: "data", label: "x\x1by"})
	_, err = ds.wait(&mounts.Disk{Serial: "store", Label: "nix-store"}, events, time.Millisecond)
	m := message(err)
	if want := `find disk with serial "store" or label "nix-store"`; m.Op != want || !strings.Contains(m.Err, "did not appear within 1ms") {
		t.Errorf("wait() = %+v; want %s: it did not appear", m, want)
	}
	if want := "the guest's disks:\n  DEV/vda: 1 MiB, serial \"data\", erofs, label \"x\\x1by\""; strings.ReplaceAll(m.Detail, ds.dev, "DEV") != want {
		t.Errorf("detail = %q; want %q", m.Detail, want)
	}
	if _, err := (disks{sys: "/none"}).wait(&mounts.Disk{Position: 0}, events, time.Millisecond); message(err).Detail != "the guest has no disk" {
		t.Errorf("wait() without disks = %+v", message(err))
	}
}

func TestFindPort(t *testing.T) {
	class := t.TempDir()
	for name, content := range map[string]string{"vport0p1": "org.qemu.guest_agent.0\n", "vport1p1": "run.mvm.agent\n", "vport1p2": ""} {
		if err := os.MkdirAll(filepath.Join(class, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, name, "name"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := findPort(class); got != "vport1p1" {
		t.Errorf("findPort() = %q; want vport1p1", got)
	}
	if got := findPort("/none"); got != "" {
		t.Errorf("findPort(/none) = %q; want none", got)
	}
}
