package initrd

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
)

// TestAppendKeepsWhatIsThere: the initrd comes first and as it is, the second
// archive at a multiple of four, and it replaces nothing that an initrd of
// systemd has.
func TestAppendKeepsWhatIsThere(t *testing.T) {
	s := spec(t)
	s.Boot.Plan.Mounts = append(s.Boot.Plan.Mounts, mounts.Mount{Where: "/data", Type: "tmpfs", What: "data"})
	for _, base := range []string{"", "x", "compressed", "twelve bytes"} {
		var b bytes.Buffer
		if err := appendTo(t.Context(), &b, strings.NewReader(base), s, []byte("program")); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		at := strings.Index(got, "070701")
		if at%4 != 0 || got[:at] != base+strings.Repeat("\x00", at-len(base)) || at-len(base) > 3 {
			t.Errorf("an initrd of %d bytes is followed by an archive at %d: %q", len(base), at, got[:at])
		}
		cmd := exec.Command("cpio", "--list", "--quiet")
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		cmd.Stdin = strings.NewReader(got[at:])
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v (install cpio)", err)
		}
		want := `etc
etc/systemd
etc/systemd/system.control
etc/systemd/system.control/emergency.target.d
etc/systemd/system.control/emergency.target.d/mvm.conf
etc/systemd/system.control/initrd-fs.target.d
etc/systemd/system.control/initrd-fs.target.d/mvm.conf
etc/systemd/system.control/initrd-root-fs.target.d
etc/systemd/system.control/initrd-root-fs.target.d/mvm.conf
etc/systemd/system.control/mvm-agent.service
etc/systemd/system.control/mvm-emergency.service
etc/systemd/system.control/sysinit.target.d
etc/systemd/system.control/sysinit.target.d/mvm.conf
etc/systemd/system.control/sysroot-data.mount
etc/systemd/system.control/sysroot.mount
mvm
mvm/boot.json
mvm/init
mvm/modules
mvm/modules/erofs.ko
mvm/modules/virtio_blk.ko
mvm/registration
`
		if diff := cmp.Diff(want, string(out)); diff != "" {
			t.Errorf("what is appended (-want +got):\n%s", diff)
		}
	}
}

// TestAgentUnitsAreWellFormed: as systemd reads them, beside the targets that
// they name.
func TestAgentUnitsAreWellFormed(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, u := range agentUnits {
		writeUnit(t, dir, u)
		if strings.HasSuffix(u.Name, ".service") {
			names = append(names, dir+"/"+u.Name)
		}
	}
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=no", "--recursive-errors=no"}, names...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	out, err := cmd.CombinedOutput()
	var wrong []string
	for line := range strings.Lines(string(out)) {
		// The program is in the guest only.
		if strings.Contains(line, "mvm-") && !strings.Contains(line, "/mvm/init is not executable") {
			wrong = append(wrong, line)
		}
	}
	if len(out) == 0 && err != nil {
		t.Fatalf("systemd-analyze: %v (install systemd)", err)
	}
	if len(wrong) > 0 {
		t.Errorf("systemd-analyze verify:\n%s", strings.Join(wrong, ""))
	}
}

func writeUnit(t *testing.T, dir string, u mounts.Unit) {
	t.Helper()
	path := dir + "/" + u.Name
	if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(u.Text), 0o644); err != nil {
		t.Fatal(err)
	}
}
