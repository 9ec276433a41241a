package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScriptsAndArgumentsReachQEMU: what a definition adds to QEMU is there, seen
// on the socket that it asks for.
func TestScriptsAndArgumentsReachQEMU(t *testing.T) {
	h := host(t)
	program := filepath.Join(h.Dir, "package", "bin")
	if err := os.MkdirAll(program, 0o755); err != nil {
		t.Fatal(err)
	}
	qemu := write(t, filepath.Join(program, "qemu-system-x86_64"), "#!/bin/sh\nexec qemu-system-x86_64 \"$@\"\n")
	if err := os.Chmod(qemu, 0o755); err != nil {
		t.Fatal(err)
	}
	v := h.Start(define(t, h, "scripts", fmt.Sprintf(`
preStart = """
echo before
echo '-device virtio-rng-device,id=scripted' >args
"""
extraArgsScript = "cat args; echo and said >&2"
socket = "other.sock"
[qemu]
package = %q
extraArgs = ["-device", "virtio-rng-device,id=written"]
serialConsole = false
machineOpts = { acpi = "on", pit = "off", pic = "off", rtc = "off" }
`, filepath.Dir(program))))
	v.WaitReady()
	for _, want := range []string{"mvm: scripts: preStart: before\n", "mvm: scripts: extraArgsScript: and said\n"} {
		v.Await(want)
	}
	q := dialQMP(t, filepath.Join(h.Dirs().Machine("scripts").State, "other.sock"))
	list := q.do("qom-list", map[string]any{"path": "/machine/peripheral"})
	for _, id := range []string{"scripted", "written"} {
		if !strings.Contains(list, `"`+id+`"`) {
			t.Errorf("QEMU has no device %s: %s", id, list)
		}
	}
	if rtc := q.do("qom-get", map[string]any{"path": "/machine", "property": "rtc"}); !strings.Contains(rtc, `"off"`) {
		t.Errorf("the machine's option rtc is %s; want off", rtc)
	}
	if console := v.Console(); console != "" {
		t.Errorf("a guest without a serial console wrote %q", console)
	}
	q.do("quit", nil)
	if e := v.Wait(); e.Code != 122 || !strings.Contains(e.Stderr, "somebody else ended QEMU (host-qmp-quit)") {
		t.Errorf("after another program's quit mvm ended with %d; want 122\n%s", e.Code, e.Stderr)
	}
	if _, err := os.Lstat(filepath.Join(h.Dirs().Machine("scripts").State, "other.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestAPreStartThatFailsIsTheEnd, before a volume is made; and one that hangs is
// ended with all that it has started. Leftovers are looked for in any case.
func TestAPreStartThatFailsIsTheEnd(t *testing.T) {
	h := host(t)
	volume := "[[volumes]]\nimage = \"a.img\"\nmountPoint = \"/a\"\nsize = 64\n"
	e := h.Mvm("run", define(t, h, "fails", "preStart = \"echo the reason; exit 9\"\n"+volume))
	if e.Code != 101 || !strings.Contains(e.Stderr, "mvm: error: preStart: exit status 9; it said last:\nthe reason\nmvm: hint: ") {
		t.Errorf("mvm run = %d; want 101, the status and the reason\n%s", e.Code, e.Stderr)
	}
	if _, err := os.Stat(filepath.Join(h.Dirs().Machine("fails").State, "a.img")); !os.IsNotExist(err) {
		t.Errorf("the volume is made: %v", err)
	}
	v := h.Start(define(t, h, "hangs", "preStart = \"sleep 1000 & echo sleeping; sleep 1000\"\n"))
	v.Await("preStart: sleeping")
	v.Signal(os.Interrupt)
	if e := v.Wait(); !strings.Contains(e.Stderr, "mvm: hangs: stopped") {
		t.Errorf("stopped in preStart mvm ended with %d\n%s", e.Code, e.Stderr)
	}
}
