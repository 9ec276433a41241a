package initrd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

func TestGuestBootsRunsCommandsAndEnds(t *testing.T) {
	m := start(t, handoff.Boot{Hostname: "lamb", Plan: writable(), Init: []string{initOK, "an argument"}},
		drive{image: makeStore(t), serial: "nix-store"})
	ready := m.ready()
	t.Logf("milliseconds since the kernel started: %v", ready.Timings)
	for _, want := range []string{" / / ", " /nix/.ro-store ", " - overlay overlay ", "lowerdir=/nix/.ro-store,"} {
		if !strings.Contains(ready.MountInfo, want) {
			t.Errorf("mount report lacks %q:\n%s", want, ready.MountInfo)
		}
	}

	tests := []struct {
		name  string
		exec  handoff.Exec
		stdin string
		out   string
		code  int
	}{
		{"stdin to stdout", handoff.Exec{Argv: []string{busybox, "cat"}}, "hello\n", "hello\n", 0},
		{"host name", handoff.Exec{Argv: []string{busybox, "hostname"}}, "", "lamb\n", 0},
		{"exit code", handoff.Exec{Argv: []string{sh, "-c", "exit 42"}}, "", "", 42},
		{"store is writable", handoff.Exec{Argv: []string{sh, "-c", "echo x > /nix/store/new && cat /nix/store/new"},
			Env: []string{"PATH=/nix/store/0001-busybox/bin"}}, "", "x\n", 0},
		{"registration", handoff.Exec{Argv: []string{busybox, "cat", handoff.RegistrationPath}}, "", "registered\n", 0},
		{"terminal", handoff.Exec{Argv: []string{sh, "-c", busybox + " stty size"}, TTY: &handoff.Size{Rows: 7, Cols: 70}}, "", "7 70\r\n", 0},
		{"process 1", handoff.Exec{Argv: []string{sh, "-c", busybox + " tr '\\0' ' ' < /proc/1/cmdline"}}, "", sh + " " + initOK + " an argument ", 0},
		{"nothing is left of the initramfs", handoff.Exec{Argv: []string{busybox, "ls", "/"}}, "", "dev\nnix\nproc\nrun\nsys\n", 0},
		{"standard input of init", handoff.Exec{Argv: []string{busybox, "readlink", "/proc/1/fd/0"}}, "", "/dev/console\n", 0},
		{"agent's files", handoff.Exec{Argv: []string{sh, "-c", "kill -0 $PPID; " + busybox + " readlink /proc/$PPID/cwd"}}, "", "/\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, exited := m.exec(tt.exec, tt.stdin)
			if out != tt.out || exited.Code != tt.code || exited.Err != "" {
				t.Errorf("exec %q = %q, %+v; want %q, code %d", tt.exec.Argv, out, exited, tt.out, tt.code)
			}
		})
	}

	if _, exited := m.exec(handoff.Exec{Argv: []string{"nonesuch"}}, ""); exited.Code != 127 || exited.Err == "" {
		t.Errorf("exec nonesuch = %+v; want code 127 and an error", exited)
	}
	out, _ := m.exec(handoff.Exec{Argv: []string{busybox, "dd", "if=/dev/zero", "bs=64k", "count=100"}}, "")
	if got := strings.Count(out, "\x00"); got != 6553600 {
		t.Errorf("a command's 6553600 bytes arrived as %d", got)
	}

	// The program that a guest's user runs, as a child of a shell that is
	// process 1's child of nobody in particular.
	s, err := m.agent.Start(m.ctx, handoff.Exec{Argv: []string{handoff.PoweroffPath, "7"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(m.ctx)
	if e := m.event(); e.Exit == nil || e.Exit.Status != 7 {
		t.Errorf("event after poweroff 7 = %+v; want exit 7", e)
	}
	m.end()
	if c := m.console.String(); !strings.Contains(c, "init runs as 1 with an argument") || strings.Contains(c, "panic") {
		t.Errorf("the console does not show one run of init:\n%s", c)
	}
}

func TestGuestIsPoweredOffByTheHost(t *testing.T) {
	m := start(t, handoff.Boot{Plan: plain(), Init: []string{initOK}}, drive{image: makeStore(t), serial: "nix-store"})
	m.ready()
	if err := m.agent.Poweroff(m.ctx, false); err != nil {
		t.Fatal(err)
	}
	m.end()
	if c := m.console.String(); strings.Contains(c, "panic") {
		t.Errorf("powering off made the kernel panic:\n%s", c)
	}
}

func TestInitThatIsPoweroffPassesOnItsStatus(t *testing.T) {
	m := start(t, handoff.Boot{Plan: plain(), Init: []string{"/nix/store/0002-system/init-exits-7"}}, drive{image: makeStore(t), serial: "nix-store"})
	m.ready()
	if e := m.event(); e.Exit == nil || e.Exit.Status != 7 {
		t.Errorf("event = %+v; want exit 7", e)
	}
	m.end()
}

// TestVolumeIsFoundByItsLabelAndKeepsTheStore boots twice with the disks in an
// order in which letters would mount the wrong one.
func TestVolumeIsFoundByItsLabelAndKeepsTheStore(t *testing.T) {
	volume := filepath.Join(t.TempDir(), "volume")
	writeFile(t, volume, "", 0o644)
	if err := os.Truncate(volume, 16<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "/sbin/mkfs.ext4", "e2fsprogs", "-q", "-L", "rw-store", volume)
	plan := writable()
	plan.Mounts = slices.Insert(plan.Mounts, 2, mounts.Mount{
		Where: "/nix/.rw-store", Type: "ext4", Disk: &mounts.Disk{Label: "rw-store", Position: 1},
	})
	plan.Mounts[3].Depends = append(plan.Mounts[3].Depends, "/nix/.rw-store")
	store := makeStore(t)
	for _, command := range []string{"echo kept > /nix/store/new", busybox + " cat /nix/store/new"} {
		m := start(t, handoff.Boot{Plan: plan, Init: []string{initOK}},
			drive{image: volume, serial: "mvm-rw-store", writable: true}, drive{image: store, serial: "nix-store"})
		m.ready()
		out, exited := m.exec(handoff.Exec{Argv: []string{sh, "-c", command}}, "")
		if exited.Code != 0 || strings.Contains(command, "cat") && out != "kept\n" {
			t.Errorf("%s = %q, %+v", command, out, exited)
		}
		if err := m.agent.Poweroff(m.ctx, false); err != nil {
			t.Fatal(err)
		}
		m.end()
	}
	// Going down left nothing for a journal to repair.
	run(t, "/sbin/e2fsck", "e2fsprogs", "-fn", volume)
	b, err := exec.Command("/sbin/dumpe2fs", "-h", volume).Output()
	if err != nil || strings.Contains(string(b), "needs_recovery") {
		t.Errorf("dumpe2fs = %v; want no needs_recovery in:\n%s", err, b)
	}
}

func TestGuestThatCannotBootSaysWhy(t *testing.T) {
	store := makeStore(t)
	broken := t.TempDir() + "/broken"
	b, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[1024:], bytes.Repeat([]byte{0xff}, 128))
	if err := os.WriteFile(broken, b, 0o644); err != nil {
		t.Fatal(err)
	}
	unknown := plain()
	unknown.Mounts[1].Type = "minix"

	tests := []struct {
		name   string
		boot   handoff.Boot
		drive  drive
		op     string
		err    string
		detail string
	}{
		{"init is missing", handoff.Boot{Plan: plain(), Init: []string{"/nix/store/0002-system/gone"}}, drive{image: store, serial: "nix-store"},
			"execute /nix/store/0002-system/gone", "no such file or directory", ""},
		{"init is not executable", handoff.Boot{Plan: plain(), Init: []string{"/nix/store/0002-system/not-executable"}}, drive{image: store, serial: "nix-store"},
			"execute /nix/store/0002-system/not-executable", "permission denied", ""},
		{"interpreter of init is missing", handoff.Boot{Plan: plain(), Init: []string{"/nix/store/0002-system/no-interpreter"}}, drive{image: store, serial: "nix-store"},
			"execute /nix/store/0002-system/no-interpreter", "no such file or directory", "interpreter"},
		{"disk is missing", handoff.Boot{Plan: plain(), Init: []string{initOK}, DeviceTimeout: 500}, drive{image: store, serial: "other"},
			`find disk with serial "nix-store" or label "nix-store"`, "did not appear within 500ms", `/dev/vda: `},
		{"disk is corrupted", handoff.Boot{Plan: plain(), Init: []string{initOK}}, drive{image: broken, serial: "nix-store"},
			"mount erofs on /nix/store", "invalid argument", "erofs: "},
		{"file system is unknown", handoff.Boot{Plan: unknown, Init: []string{initOK}}, drive{image: store, serial: "nix-store"},
			"mount minix on /nix/store", "the kernel has no support for minix", "ext4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := start(t, tt.boot, tt.drive).failed()
			if got.Op != tt.op || !strings.Contains(got.Err, tt.err) || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("failed = %+v; want %q: …%q…, with …%q…", got, tt.op, tt.err, tt.detail)
			}
		})
	}
}
