package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withoutSlirp is a QEMU that was built without its own network.
const withoutSlirp = `#!/bin/sh
if [ "$*" = "-netdev help" ]; then printf 'Available netdev backend types:\ntap\n'; exit; fi
exec qemu-system-x86_64 "$@"
`

// TestWhatQEMULacksIsSaidBeforeAnythingIsMade: once, with what to do, by run and
// by doctor.
func TestWhatQEMULacksIsSaidBeforeAnythingIsMade(t *testing.T) {
	h := host(t)
	program := write(t, filepath.Join(h.Dir, "qemu"), withoutSlirp)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	file := define(t, h, "lacking", fmt.Sprintf(`
qemu.package = %q
[[volumes]]
image = "a.img"
mountPoint = "/a"
size = 64
[[interfaces]]
type = "user"
id = "net"
user.backend = "slirp"
`, program))
	const lacks = ` has no network "user"`
	const hint = "use an interface of another type, or set qemu.package to another QEMU"
	e := h.Mvm("run", file)
	if e.Code != 101 || strings.Count(e.Stderr, lacks) != 1+strings.Count(e.Stderr, "not started: check "+program) || !strings.Contains(e.Stderr, "mvm: hint: "+hint) {
		t.Errorf("mvm run = %d; want 101, %q and %q\n%s", e.Code, lacks, hint, e.Stderr)
	}
	if _, err := os.Stat(filepath.Join(h.Dirs().Machine("lacking").State, "a.img")); !os.IsNotExist(err) {
		t.Errorf("the volume is made: %v", err)
	}
	if e := h.Mvm("doctor", file); e.Code != 101 || !strings.Contains(e.Stdout, "broken   qemu suffices") || !strings.Contains(e.Stdout, lacks) {
		t.Errorf("mvm doctor = %d; want 101 and %q\n%s", e.Code, lacks, e.Stdout)
	}
}
