package vm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/qemu/guestview"
	"github.com/mvmrun/mvm/vm/state"
)

// A guest gets from a definition what microvm.nix's runner gives it, but for the
// differences that docs/qemu.md explains.
func TestPlanGivesTheGuestWhatTheReferenceDoes(t *testing.T) {
	b, err := os.ReadFile("../qemu/guestview/testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference map[string]string
	if err := json.Unmarshal(b, &reference); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/definition/conformance/*.json")
	if err != nil || len(files) != len(reference) {
		t.Fatalf("%d definitions, %v, for %d commands", len(files), err, len(reference))
	}
	place := state.Dirs{State: "/var/lib/mvm", Runtime: "/run/mvm"}.Machine("myvm")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("/etc/mvm/myvm.json", text)
			if err != nil {
				t.Fatal(err)
			}
			m, _, err := Plan(c, c.Unresolved(), Host{Arch: "amd64", Accel: qemu.KVM, Place: place})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Errorf("the machine is wrong: %v", err)
			}
			got, err := guestview.Of(m.Args())
			if err != nil {
				t.Fatal(err)
			}
			want, err := guestview.Of(shellWords(reference[name])[1:])
			if err != nil {
				t.Fatal(err)
			}
			want.Devices = append(want.Devices, "panic notifier", "virtio-serial bus", "port run.mvm.agent",
				"fw_cfg opt/io.systemd.credentials/system.machine_id")
			for _, devices := range []*[]string{&want.Devices, &got.Devices} {
				for i, d := range *devices {
					(*devices)[i] = intended(d)
				}
				slices.Sort(*devices)
				*devices = slices.Compact(*devices) // q35 has the keyboard that microvm is given
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the guest's view (-reference +mvm):\n%s", diff)
			}
		})
	}
}

var serial = regexp.MustCompile(` serial=(nix-store|mvm-\S+|disk-\d+)`)

// intended makes the intended differences equal: the serials that mvm makes up,
// and the host's store, which mvm never shares writable.
func intended(device string) string {
	device = serial.ReplaceAllString(device, "")
	if strings.HasPrefix(device, "9p ") && strings.Contains(device, "/nix/store") {
		device = strings.ReplaceAll(device, " read-only", "")
	}
	return device
}

// shellWords splits a command whose quotes are all single ones.
func shellWords(s string) []string {
	var words []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
