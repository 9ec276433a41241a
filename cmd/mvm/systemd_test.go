package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A unitHost is a directory for units and one with definitions.
type unitHost struct {
	t     *testing.T
	units string
	defs  string
}

func newUnitHost(t *testing.T) *unitHost {
	root := t.TempDir()
	h := &unitHost{t, filepath.Join(root, "units"), filepath.Join(root, "mvm")}
	if err := os.Mkdir(h.defs, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *unitHost) define(name, text string) string {
	h.t.Helper()
	file := filepath.Join(h.defs, name+".toml")
	if err := os.WriteFile(file, []byte("toplevel = \"/nix/store/none\"\n"+text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// mvm runs "mvm systemd ARG...", with h.defs as the user's definitions.
func (h *unitHost) mvm(arg ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	var out, err bytes.Buffer
	code = run(h.t.Context(), append([]string{"systemd", "--user", "--dir", h.units}, arg...), env{
		stdout: &out, stderr: &err,
		getenv: func(name string) string {
			if name == "XDG_CONFIG_HOME" {
				return filepath.Dir(h.defs)
			}
			return ""
		},
	})
	return out.String(), err.String(), code
}

func (h *unitHost) do(arg ...string) {
	h.t.Helper()
	if stdout, stderr, code := h.mvm(arg...); code != 0 || stdout+stderr != "" {
		h.t.Fatalf("mvm systemd %s = %d; want 0 and no word:\n%s%s", strings.Join(arg, " "), code, stdout, stderr)
	}
}

// tree lists the files under the directory of units, and where links lead.
func (h *unitHost) tree() []string {
	h.t.Helper()
	var files []string
	err := filepath.WalkDir(h.units, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(h.units, path)
		if to, err := os.Readlink(path); err == nil {
			rel += " -> " + to
		}
		files = append(files, rel)
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	return files
}

func (h *unitHost) want(files ...string) {
	h.t.Helper()
	if diff := cmp.Diff(files, h.tree()); diff != "" {
		h.t.Errorf("units (-want +got):\n%s", diff)
	}
}

func TestUnitsComeAndGo(t *testing.T) {
	h := newUnitHost(t)
	h.define("plain", "")
	h.define("auto", "autostart = true")
	base := []string{
		"default.target.wants/mvms.target -> ../mvms.target", "mvm@.service",
		"mvm@auto.service.d/mvm.conf", "mvm@plain.service.d/mvm.conf", "mvms.target",
	}
	auto := "mvms.target.wants/mvm@auto.service -> ../mvm@.service"
	plain := "mvms.target.wants/mvm@plain.service -> ../mvm@.service"

	if stdout, _, code := h.mvm("install", "--dry-run"); code != 0 || !strings.Contains(stdout, "write "+h.units+"/mvm@auto.service.d/mvm.conf:\n") {
		t.Errorf("install --dry-run = %d, %q; want what would be written", code, stdout)
	}
	if got := h.tree(); got != nil {
		t.Errorf("install --dry-run wrote %q", got)
	}
	h.do("install")
	h.want(append(base, auto)...)
	if stdout, _, code := h.mvm("install", "-n"); stdout != "" || code != 0 {
		t.Errorf("a second install would change something:\n%s", stdout)
	}
	h.do("enable", "plain")
	h.want(append(base, auto, plain)...)
	h.do("disable", "auto")
	h.want(append(base, plain)...)
	h.do("uninstall", "plain")
	h.want(base[0], base[1], base[2], base[4])
	h.do("enable", "plain")
	h.do("uninstall")
	h.want()
	h.do("uninstall")
}

func TestAUnitSaysWhatADefinitionAdds(t *testing.T) {
	h := newUnitHost(t)
	for _, tt := range []struct{ name, text, want string }{
		{"never", "", "Restart=no\n"},
		{"rebooting", `restart = "on-reboot"`, "Restart=no\n"},
		{"careful", `restart = "on-failure"`, "Restart=on-abnormal\nRestartSec=1\n"},
		{"disk", "[[volumes]]\nimage = \"/dev/vg/data\"\nautoCreate = false\nmountPoint = \"/data\"", "Restart=no\nDeviceAllow=/dev/vg/data rw\n"},
	} {
		h.define(tt.name, tt.text)
		h.do("install", tt.name)
		got, err := os.ReadFile(filepath.Join(h.units, "mvm@"+tt.name+".service.d/mvm.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(unitMark+"\n[Service]\n"+tt.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	// One that is not where the manager looks is named.
	odd := filepath.Join(t.TempDir(), "100% odd.toml")
	if err := os.WriteFile(odd, []byte("name = \"odd\"\ntoplevel = \"/nix/store/none\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.do("install", odd)
	got, err := os.ReadFile(filepath.Join(h.units, "mvm@odd.service.d/mvm.conf"))
	if want := `run "` + strings.ReplaceAll(odd, "%", "%%") + `"`; err != nil || !strings.Contains(string(got), want) {
		t.Errorf("the unit is %q, %v; want it to have %s", got, err, want)
	}
}

func TestOtherPeoplesUnitsStay(t *testing.T) {
	h := newUnitHost(t)
	h.define("plain", "")
	if err := os.MkdirAll(h.units, 0o755); err != nil {
		t.Fatal(err)
	}
	const theirs = "[Service]\nExecStart=/bin/true\n"
	if err := os.WriteFile(filepath.Join(h.units, "mvms.target"), []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"install", "uninstall"} {
		if _, stderr, code := h.mvm(command); code != exitHost || !strings.Contains(stderr, "mvms.target: mvm has not written it\nmvm: hint: ") {
			t.Errorf("mvm systemd %s = %d, %q; want %d and whose unit it is", command, code, stderr, exitHost)
		}
		h.want("mvms.target")
	}
	// A definition that is wrong stops everything before it begins.
	h = newUnitHost(t)
	h.define("wrong", "vcpu = 0")
	if _, _, code := h.mvm("install"); code != exitDefinition {
		t.Errorf("mvm systemd install = %d; want %d", code, exitDefinition)
	}
	h.want()
}

// TestSystemdUnderstandsTheUnits has systemd itself read them.
func TestSystemdUnderstandsTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("%v (install the package systemd)", err)
	}
	for _, user := range []bool{false, true} {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"mvm@web.service": serviceUnit(os.Args[0], user), "mvms.target": targetUnit(user),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{"verify", "--man=no", filepath.Join(dir, "mvm@web.service"), filepath.Join(dir, "mvms.target")}
		if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify (user is %v) = %v:\n%s", user, err, out)
		}
	}
}
