package test_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// TestTheShellsCommandBootsTheGuest: what mvm prints is run by sh as it is, and a
// second call prints the same bytes.
func TestTheShellsCommandBootsTheGuest(t *testing.T) {
	h := host(t)
	file := define(t, h, "pasted", fmt.Sprintf(`
init = [%q, "sh", "-c", "echo \"the guest's ready\"; mount; exec poweroff -f"]
[[volumes]]
image = "it's a disk, you know.img"
mountPoint = "/data"
size = 64
[[interfaces]]
type = "user"
id = "net"
`, busybox(t)))
	first, again := h.Mvm("argv", "--shell", file), h.Mvm("argv", "--shell", file)
	if first.Code != 0 || first.Stderr != "" || first.Stdout != again.Stdout {
		t.Fatalf("mvm argv --shell = %d\n%s\nand then\n%s", first.Code, first.Stdout+first.Stderr, again.Stdout)
	}
	ctx, cancel := context.WithTimeout(t.Context(), test.Limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", first.Stdout).CombinedOutput()
	if err != nil {
		t.Errorf("the command: %v", err)
	}
	for _, want := range []string{"the guest's ready", " on /nix/store type erofs (ro", " on /data type ext4 (rw"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the guest's console lacks %q:\n%s", want, out)
		}
	}
	// Without it, too, the command is the same each time.
	for _, form := range []string{"--json", "--why"} {
		if a, b := h.Mvm("argv", form, file), h.Mvm("argv", form, file); a.Code != 0 || a.Stdout != b.Stdout {
			t.Errorf("mvm argv %s = %d, and differs between calls:\n%s\n%s", form, a.Code, a.Stdout, b.Stdout)
		}
	}
	if e := h.Mvm("ps"); strings.Contains(e.Stdout, "pasted") {
		t.Errorf("mvm ps lists a machine that nobody has started:\n%s", e.Stdout)
	}
}
