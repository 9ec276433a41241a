package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAArch64 boots a guest of another architecture. Only its kernel says so.
func TestAArch64(t *testing.T) {
	h := host(t)
	kernel, err := filepath.Abs("../build/kernel-arm64")
	if err != nil {
		t.Fatal(err)
	}
	version, err := os.ReadFile(filepath.Join(kernel, "VERSION"))
	if err != nil {
		t.Fatalf("%v (run: scripts/setup)", err)
	}
	const system = "00000000000000000000000000000000-aarch64"
	store, closure := filepath.Join(h.Dir, "store"), filepath.Join(h.Dir, "closure")
	for _, dir := range []string{filepath.Join(store, system), closure} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(filepath.Join(kernel, "bin/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(store, system, "busybox"), string(program))
	const sh = "/nix/store/" + system + "/busybox"
	write(t, filepath.Join(store, system, "init"), fmt.Sprintf("#!%s sh\nwhile :; do %s sleep 1000; done\n", sh, sh))
	for _, name := range []string{"busybox", "init"} {
		if err := os.Chmod(filepath.Join(store, system, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(closure, "store-paths"), "/nix/store/"+system+"\n")
	write(t, filepath.Join(closure, "registration"), "")

	v := h.Start(write(t, filepath.Join(h.Dir, "arm.toml"), fmt.Sprintf(`
kernel = %q
init = "/nix/store/%s/init"
storeDir = %q
closureInfo = %q
vcpu = 2
mem = 256
hotplugMem = 128
balloon = true
deflateOnOOM = false
writableStoreOverlay = "/nix/.rw-store"
[[volumes]]
image = "rw.img"
size = 64
mountPoint = "/nix/.rw-store"
`+share("virtiofs", "src", closure, "/src"), filepath.Join(kernel, "boot/vmlinuz-"+strings.TrimSpace(string(version))), system, store, closure)))
	v.WaitReady()
	// The agent finds no programs where NixOS has them, so each has its path.
	run := func(script string) string {
		t.Helper()
		return strings.TrimSpace(v.Exec(sh, "sh", "-c", fmt.Sprintf("busybox() { %s \"$@\"; }; ", sh)+script))
	}
	if got, want := run("busybox uname -m; busybox nproc"), "aarch64\n2"; got != want {
		t.Errorf("the guest has %q; want %q", got, want)
	}
	if got, want := run("busybox cat /src/store-paths"), "/nix/store/"+system; got != want {
		t.Errorf("the share has the file %q; want %q", got, want)
	}
	total := "total() { busybox awk '/^MemTotal:/ { print $2 }' /proc/meminfo; }; "
	until := func(as string) { run(fmt.Sprintf("%suntil [ $(total) %s ]; do busybox sleep 0.1; done", total, as)) }
	// All of hotplugMem is plugged in at the start.
	until(fmt.Sprint("-gt ", 300<<10))
	// Without deflateOnOOM what the balloon has is no memory of the guest's.
	if e := h.Mvm("balloon", v.Name, "200"); e.Code != 0 {
		t.Errorf("mvm balloon = %d; want 0\n%s", e.Code, e.Stderr)
	}
	until(fmt.Sprint("-lt ", (200+128)<<10))
	checkEnd(t, v.Stop(), 0)
}
