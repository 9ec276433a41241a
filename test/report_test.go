package test_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/control"
)

// TestStatusHoldsThePlanAgainstTheReport: while all is well, and when the guest
// has something else than was planned. No guest of mvm-init's can come to that
// before it says that it is ready, so one says it later what it has mounted over
// its store, and a stand-in for QEMU brings that report in its place.
func TestStatusHoldsThePlanAgainstTheReport(t *testing.T) {
	h := host(t)
	const machine = `writableStoreOverlay = "/nix/.rw-store"
[[volumes]]
image = "data.img"
size = 16
mountPoint = "/data"
`
	v := h.Start(define(t, h, "report", machine))
	v.WaitReady()
	got := mountsOf(t, h.Mvm("status", "report", "--json").Stdout)
	for i := range got {
		m := &got[i]
		// The plan names a disk by its serial, the guest by its letter.
		if device, ok := strings.CutPrefix(m.Source, "/dev/vd"); ok && len(device) == 1 {
			m.Source = "a disk"
		}
		m.Planned, m.Mounted = "", ""
	}
	want := []control.Mount{
		{Where: "/", Type: "tmpfs", Source: "rootfs"},
		{Where: "/nix/.ro-store", Type: "erofs", Source: "a disk"},
		{Where: "/nix/store", Type: "overlay", Source: "overlay"},
		{Where: "/data", Type: "ext4", Source: "a disk"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mvm status --json has other mounts (-want +got):\n%s", diff)
	}
	_, text, _ := strings.Cut(h.Mvm("status", "report").Stdout, "\nmounts ")
	var lines []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		lines = append(lines, strings.Join([]string{f[0], f[1], f[len(f)-1]}, " "))
	}
	if diff := cmp.Diff([]string{"/ tmpfs ok", "/nix/.ro-store erofs ok", "/nix/store overlay ok", "/data ext4 ok"}, lines); diff != "" {
		t.Errorf("mvm status shows other mounts (-want +got):\n%s", diff)
	}
	report := v.Exec("sh", "-c", "mount -t tmpfs over /nix/store && cat /proc/self/mountinfo && umount /nix/store")
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}

	fake := filepath.Join(h.Dir, "fakeqemu")
	if out, err := exec.Command("go", "build", "-o", fake, "./fakeqemu").CombinedOutput(); err != nil {
		t.Fatalf("build the fake QEMU: %v\n%s", err, out)
	}
	h.Env = append(h.Env, "FAKEQEMU_SCRIPT=agent ready "+write(t, filepath.Join(h.Dir, "mountinfo"), report))
	const differs = "/nix/store is hidden by a mount on the same place"
	e := h.Start(define(t, h, "covered", "qemu.package = \""+fake+"\"\n"+machine)).Wait()
	checkEnd(t, e, 120, "error: guest: "+differs)
	lower := "lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/store,workdir=/nix/.rw-store/work"
	both := differs + "\n    planned: overlay on /nix/store type overlay (" + lower + ")\n    mounted: over on /nix/store type tmpfs (rw,"
	for _, said := range []string{e.Stderr, h.Mvm("status", "covered").Stdout} {
		if !strings.Contains(said, both) {
			t.Errorf("mvm says\n%swant it to have\n%s", said, both)
		}
	}
}

// mountsOf are the mounts in what mvm status --json printed.
func mountsOf(t *testing.T, stdout string) []control.Mount {
	t.Helper()
	var s control.Status
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatalf("mvm status --json: %v\n%s", err, stdout)
	}
	return s.Mounts
}
