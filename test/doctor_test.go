package test_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A finding is what "mvm doctor --json" prints a list of.
type finding struct{ What, State, Text, Hint string }

// TestDoctorProvesThatGuestsRun: it boots one, with the kernel of the definition,
// and leaves nothing behind.
func TestDoctorProvesThatGuestsRun(t *testing.T) {
	h := host(t)
	e := h.Mvm("doctor", define(t, h, "healthy", ""))
	if e.Code != 0 || e.Stderr != "" {
		t.Errorf("mvm doctor = %d; want 0\n%s%s", e.Code, e.Stdout, e.Stderr)
	}
	for _, want := range []string{"\nok       probe guest ", "booted, mounted its store disk, reported and powered off in ", "ok       qemu ", "accelerator "} {
		if !strings.Contains("\n"+e.Stdout, want) {
			t.Errorf("mvm doctor does not print %q:\n%s", want, e.Stdout)
		}
	}
}

// TestDoctorFindsWhatIsWrong: each finding with one hint.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name       string
		definition string
		env        []string
		what       string
		state      string
		code       int
	}{
		{"no qemu", `qemu.package = "/nonesuch"`, nil, "qemu", "broken", 101},
		{"no kernel", `kernel = "/nonesuch"`, nil, "probe guest", "missing", 0},
		{"a kernel that is none", "kernel = \"KERNEL\"\nreadyTimeout = \"2s\"", nil, "probe guest", "broken", 101},
		{"no nix", "", []string{"PATH=ONLYQEMU"}, "nix-store", "missing", 0},
		{"a state directory that cannot be", "", []string{"MVM_STATE_DIR=/proc/nonesuch"}, "state directory", "broken", 101},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			kernel := write(t, h.Dir+"/kernel", strings.Repeat("not a kernel\n", 1000))
			only := filepath.Join(h.Dir, "bin")
			if err := os.Mkdir(only, 0o755); err != nil {
				t.Fatal(err)
			}
			qemu, err := exec.LookPath("qemu-system-x86_64")
			if err != nil {
				t.Fatalf("%v (install qemu-system-x86)", err)
			}
			if err := os.Symlink(qemu, filepath.Join(only, filepath.Base(qemu))); err != nil {
				t.Fatal(err)
			}
			for _, v := range tt.env {
				h.Env = append(h.Env, strings.ReplaceAll(v, "ONLYQEMU", only))
			}
			e := h.Mvm("doctor", "--json", define(t, h, "sick", strings.ReplaceAll(tt.definition, "KERNEL", kernel)))
			if e.Code != tt.code {
				t.Errorf("mvm doctor = %d; want %d\n%s", e.Code, tt.code, e.Stderr)
			}
			var findings []finding
			if err := json.Unmarshal([]byte(e.Stdout), &findings); err != nil {
				t.Fatalf("%v\n%s", err, e.Stdout)
			}
			found := false
			for _, f := range findings {
				if f.What == tt.what {
					found = true
					if f.State != tt.state || f.Text == "" || f.Hint == "" {
						t.Errorf("%+v; want %s, a text and a hint", f, tt.state)
					}
				} else if f.State == "broken" {
					t.Errorf("%+v is not what is wrong", f)
				}
			}
			if !found {
				t.Errorf("no finding about %q in %+v", tt.what, findings)
			}
		})
	}
}
