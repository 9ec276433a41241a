package vm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/control"
)

func TestEveryEndHasItsReason(t *testing.T) {
	const panicked = "[    3.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\r\n[    3.2] CPU: 0\r\n"
	three, killed := 3, 137
	tests := []struct {
		name   string
		f      facts
		want   control.Reason
		detail string // a part of it; "" is none at all
		hint   string
	}{
		{name: "the guest powers itself off", f: facts{ready: true, reason: "guest-shutdown"}, want: control.GuestPoweroff},
		{name: "and reports a status", f: facts{ready: true, reason: "guest-shutdown", status: &three}, want: control.GuestPoweroff},
		{name: "the guest reboots", f: facts{ready: true, reason: "guest-reset"}, want: control.GuestReboot},
		{name: "mvm-init fails", f: facts{reason: "guest-shutdown", failed: &handoff.Failed{Op: "mount erofs on /nix/store", Err: "structure needs cleaning"}},
			want: control.GuestFailed, detail: "guest: mount erofs on /nix/store: structure needs cleaning", hint: "mvm store verify"},
		{name: "so does one under the overlay", f: facts{reason: "guest-shutdown", failed: &handoff.Failed{Op: "mount squashfs on /nix/.ro-store", Err: "invalid argument"}},
			want: control.GuestFailed, detail: "/nix/.ro-store", hint: "mvm store verify"},
		{name: "a shared store is not damaged", f: facts{reason: "guest-shutdown", failed: &handoff.Failed{Op: "mount virtiofs on /nix/store", Err: "invalid argument"}},
			want: control.GuestFailed, detail: "guest: mount virtiofs on /nix/store: invalid argument"},
		{name: "and its words are made harmless", f: facts{failed: &handoff.Failed{Op: "mount \x1b[2J", Err: "x"}},
			want: control.GuestFailed, detail: "guest: mount ?[2J: x"},
		{name: "and cannot pass for mvm's", f: facts{failed: &handoff.Failed{Op: "mount", Err: "x\nmvm: hint: y"}},
			want: control.GuestFailed, detail: "guest: mount: x\n  mvm: hint: y"},
		{name: "mvm-init fails while it is stopped", f: facts{stopWhy: "^C", failed: &handoff.Failed{Op: "execute /init", Err: "no such file"}},
			want: control.GuestFailed, detail: "execute /init", hint: "init in the definition"},
		{name: "QEMU saw the panic", f: facts{ready: true, panicked: true, reason: "guest-panic"}, want: control.GuestPanic, detail: "kernel panic"},
		{name: "only the console saw it", f: facts{ready: true, reason: "guest-reset", console: []byte(panicked)},
			want: control.GuestPanic, detail: "Attempted to kill init", hint: "init exited with status 3"},
		{name: "it is reset by its kernel", f: facts{ready: true, reason: "guest-reset", console: []byte("[    3.1] x\n[    3.123456] reboot: Restarting system\n")}, want: control.GuestReboot},
		{name: "it is reset by a key", f: facts{ready: true, reason: "guest-reset", console: []byte("[    3.123456] sysrq: Resetting\n")}, want: control.GuestReboot},
		{name: "it is reset by a triple fault", f: facts{ready: true, reason: "guest-reset", console: []byte("[    3.123456] clocksource: tsc\r\n$ ")},
			want: control.GuestPanic, detail: "without a word from its kernel", hint: "console"},
		{name: "its console is not its kernel's", f: facts{ready: true, reason: "guest-reset", console: []byte("$ ")}, want: control.GuestReboot},
		{name: "nothing is left to kill", f: facts{ready: true, panicked: true, console: []byte("Kernel panic - not syncing: System is deadlocked on memory\n")},
			want: control.GuestPanic, detail: "deadlocked on memory", hint: "raise mem"},
		{name: "init was killed for memory", f: facts{ready: true, panicked: true,
			console: []byte("Out of memory: Killed process 1 (init) total-vm:9kB\nKernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\n")},
			want: control.GuestPanic, detail: "kill init", hint: "raise mem"},
		{name: "its command was killed for memory", f: facts{ready: true, reason: "guest-shutdown", status: &killed, console: []byte("Out of memory: Killed process 70 (tail) total-vm:9kB\n")},
			want: control.GuestPoweroff, detail: "out of memory: its kernel killed tail", hint: "raise mem"},
		{name: "its command was killed", f: facts{ready: true, reason: "guest-shutdown", status: &killed}, want: control.GuestPoweroff},
		{name: "stopped, and it rebooted", f: facts{ready: true, stopWhy: "^C", reason: "guest-reset", tried: []climbed{{rungKeys, nil}}}, want: control.Stopped},
		{name: "init was killed", f: facts{ready: true, reason: "guest-reset", console: []byte("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b")},
			want: control.GuestPanic, detail: "kill init", hint: "signal 11"},
		{name: "an old panic on the console of a clean end", f: facts{ready: true, reason: "guest-shutdown", console: []byte(panicked)}, want: control.GuestPoweroff},
		{name: "stopped", f: facts{ready: true, stopWhy: "^C", reason: "guest-shutdown", tried: []climbed{{rungAgent, nil}}}, want: control.Stopped},
		{name: "stopped by force", f: facts{ready: true, stopWhy: "^C", reason: "host-qmp-quit", tried: []climbed{{rungAgent, errors.New("no end")}, {rungQuit, nil}}},
			want: control.Killed, detail: "qmp quit ended it", hint: "stopTimeout"},
		{name: "killed on request", f: facts{ready: true, stopWhy: "kill", killAsked: true, qemuErr: errors.New("QEMU was ended by signal 9"), tried: []climbed{{rungKill, nil}}}, want: control.Killed},
		{name: "stopped while it booted", f: facts{stopWhy: "^C", reason: "host-qmp-quit", tried: []climbed{{rungQuit, nil}}}, want: control.Stopped},
		{name: "killed while it is stopped", f: facts{ready: true, stopWhy: "^C", qemuErr: errors.New("QEMU was ended by signal 9"), tried: []climbed{{rungQuit, errors.New("no end")}, {rungKill, nil}}},
			want: control.Killed, detail: "SIGKILL ended it"},
		{name: "not ready in time", f: facts{timeout: time.Minute, reason: "host-qmp-quit", tried: []climbed{{rungQuit, nil}}}, want: control.ReadyTimeout, detail: "within 1m0s"},
		{name: "a helper dies", f: facts{ready: true, helperErr: errors.New("virtiofsd of share src (process 7) was ended by signal 9"), tried: []climbed{{rungAgent, nil}}},
			want: control.HelperDied, detail: "virtiofsd of share src"},
		{name: "QEMU crashes", f: facts{ready: true, qemuErr: errors.New("QEMU was ended by signal 11")}, want: control.QEMUError, detail: "signal 11"},
		{name: "the host kills QEMU for its memory", f: facts{ready: true, qemuErr: errors.New("QEMU was ended by signal 9"), starved: true}, want: control.HostMemory, detail: "out of memory", hint: "mem"},
		{name: "and while it is killed on request", f: facts{ready: true, killAsked: true, stopWhy: "kill", qemuErr: errors.New("QEMU was ended by signal 9"), starved: true, tried: []climbed{{rungKill, nil}}}, want: control.Killed},
		{name: "somebody else quits QEMU", f: facts{ready: true, reason: "host-signal"}, want: control.QEMUError, detail: "host-signal"},
		{name: "powered off before it was ready", f: facts{reason: "guest-shutdown"}, want: control.GuestFailed, detail: "before it was ready"},
		{name: "mounts differ", f: facts{ready: true, mismatch: "/nix/store is not mounted", tried: []climbed{{rungQuit, nil}}}, want: control.GuestFailed, detail: "/nix/store is not mounted"},
		{name: "stopped, and it powered off while the ladder was climbed", f: facts{ready: true, stopWhy: "^C", reason: "guest-shutdown", tried: []climbed{{rungAgent, errors.New("gone")}, {rungQuit, nil}}},
			want: control.Stopped},
		{name: "the command's output has no room", f: facts{ready: true, outputErr: errors.New("write the command's output: no space left on device"), reason: "guest-shutdown"}, want: control.Stopped, detail: "write the command's output: no space"},
		{name: "the command is not found", f: facts{ready: true, commandText: "nonsense: command not found", reason: "guest-shutdown"}, want: control.GuestPoweroff, detail: "nonsense"},
		{name: "the command is lost", f: facts{ready: true, commandErr: errors.New("sh: agent channel is closed"), reason: "guest-reset"}, want: control.GuestFailed, detail: "agent channel"},
		{name: "the command is lost with QEMU", f: facts{ready: true, commandErr: errors.New("sh: agent channel is closed"), qemuErr: errors.New("QEMU was ended by signal 9")},
			want: control.QEMUError, detail: "QEMU was ended by signal 9"},
		{name: "the command is lost, and QEMU has to be killed", f: facts{ready: true, commandErr: errors.New("sh: agent channel is closed"), qemuErr: errors.New("QEMU was ended by signal 9"), tried: []climbed{{rungKill, nil}}},
			want: control.GuestFailed, detail: "agent channel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.f.judge()
			if got.Reason != tt.want {
				t.Errorf("reason %q; want %q", got.Reason, tt.want)
			}
			if !strings.Contains(got.Detail, tt.detail) || (got.Detail == "") != (tt.detail == "") {
				t.Errorf("detail %q; want %q", got.Detail, tt.detail)
			}
			if !strings.Contains(got.Hint, tt.hint) {
				t.Errorf("hint %q; want %q", got.Hint, tt.hint)
			}
			if got.Status != tt.f.status {
				t.Errorf("status %v; want %v", got.Status, tt.f.status)
			}
			if got.Detail == "" && got.Evidence != (control.Evidence{}) {
				t.Errorf("an end without trouble has evidence: %+v", got.Evidence)
			}
		})
	}
}
