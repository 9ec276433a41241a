package test_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// errorsOf returns mvm's errors and hints in what it said.
func errorsOf(stderr string) []string {
	var found []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "mvm: error: ") || strings.HasPrefix(line, "mvm: hint: ") {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// checkEnd compares how a run of mvm ended: with which code, and with errors and
// hints that match want, line by line, and no others.
func checkEnd(t *testing.T, e test.Ended, code int, want ...string) {
	t.Helper()
	if e.Code != code {
		t.Errorf("mvm ended with %d; want %d", e.Code, code)
	}
	got := errorsOf(e.Stderr)
	if len(got) != len(want) {
		t.Errorf("%d errors and hints; want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i, line := range got {
		if ok, err := regexp.MatchString("^mvm: "+want[i]+"$", line); !ok || err != nil {
			t.Errorf("mvm said %q; want a match of %q", line, want[i])
		}
	}
}

// TestEndOfAGuest: how a guest ends is mvm's exit status, and what was wrong is
// one error.
func TestEndOfAGuest(t *testing.T) {
	tests := []struct {
		name       string
		definition string
		code       int
		want       []string
	}{
		{"exit status of the guest", `kernelParams = ["myvm.exit=42"]`, 42, nil},
		{"guest that powers off", `kernelParams = ["myvm.exit=0"]`, 0, nil},
		{"panic", `kernelParams = ["myvm.panic"]`, 121, []string{
			"error: guest: kernel panic: sysrq triggered crash",
			"hint: look at the console for the kernel's stack",
		}},
		{"init that is missing", `init = "/nix/store/gone/init"`, 120, []string{
			"error: guest: execute /nix/store/gone/init: no such file or directory",
			"hint: check init in the definition: it must be a program of the closure",
		}},
		{"init that ends", `init = ["` + busybox(t) + `", "sh", "-c", "exit 3"]`, 121, []string{
			"error: guest: kernel panic: Attempted to kill init! exitcode=0x00000300",
			"hint: init exited with status 3, and process 1 must not exit: let it end with /run/mvm/poweroff 3",
		}},
		{"guest that is not ready in time", "readyTimeout = \"300ms\"", 123, []string{
			`error: the guest was not ready within 300ms`,
			"hint: look at the console for where it stopped, or raise readyTimeout",
		}},
		{"qemu that refuses", `qemu.extraArgs = ["-nonesuch"]`, 122, []string{
			"error: .*-nonesuch: invalid option",
			"hint: mvm argv NAME --why shows which key of the definition caused each option",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			v := h.Start(define(t, h, "ending", tt.definition))
			e := v.Wait()
			checkEnd(t, e, tt.code, tt.want...)
			if len(h.Running()) != 0 {
				t.Error("mvm ps lists a machine that has ended")
			}
		})
	}
}
