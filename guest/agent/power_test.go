package agent

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRecognise(t *testing.T) {
	systemd := initSystem{off: 38, reboot: 39}
	busybox := initSystem{off: unix.SIGUSR2, reboot: unix.SIGTERM}
	tests := []struct {
		exe, cmdline string
		want         initSystem
	}{
		{"/nix/store/x-systemd-256/lib/systemd/systemd", "/run/current-system/systemd/lib/systemd/systemd\x00", systemd},
		{"/usr/lib/systemd/systemd (deleted)", "/sbin/init\x00", systemd}, // upgraded while it ran
		{"/nix/store/x-busybox/bin/busybox", "init\x00", busybox},
		{"/bin/busybox", "/sbin/init\x00--x\x00", busybox},
		{"/bin/busybox.static", "/linuxrc\x00", busybox},
		{"/bin/busybox", "/bin/sh\x00/init\x00", initSystem{}},
		{"/usr/bin/bash", "/bin/bash\x00/init\x00", initSystem{}},
		{"/run/mvm/init", "/run/mvm/poweroff\x007\x00", initSystem{}},
		{"", "", initSystem{}},
	}
	for _, tt := range tests {
		if got, ok := recognise(tt.exe, []byte(tt.cmdline)); got != tt.want || ok != (tt.want != initSystem{}) {
			t.Errorf("recognise(%q, %q) = %v, %v; want %v", tt.exe, tt.cmdline, got, ok, tt.want)
		}
	}
}

func TestParseStatus(t *testing.T) {
	tests := []struct {
		args []string
		want int
		err  string
	}{
		{nil, 0, ""},
		{[]string{"3"}, 3, ""},
		{[]string{"255"}, 255, ""},
		{[]string{"256"}, 0, `exit status "256": want a number from 0 to 255`},
		{[]string{"-1"}, 0, `exit status "-1": want a number from 0 to 255`},
		{[]string{"now"}, 0, `exit status "now": want a number from 0 to 255`},
		{[]string{"1", "2"}, 0, "want one exit status, got 2 arguments"},
	}
	for _, tt := range tests {
		got, err := ParseStatus(tt.args)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("ParseStatus(%q) = %d, %q; want %d, %q", tt.args, got, text, tt.want, tt.err)
		}
	}
}

// TestTraceHolds stops a process the way process 1 is held: it stays stopped
// although the child that it waits for ends.
func TestTraceHolds(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read line; echo went on")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held, let := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the tracer ends with the goroutine
		trace(cmd.Process.Pid)
		close(held)
		<-let
	}()
	<-held
	if _, err := stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // long enough to go on, if it could
	b, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
	if err != nil || !strings.Contains(string(b), ") t ") {
		t.Errorf("stat = %q, %v; want state t", b, err)
	}
	close(let)
	if err := cmd.Wait(); err != nil || out.String() != "went on\n" {
		t.Errorf("after letting go: %q, %v", out.String(), err)
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"A=1", "HOME=/", "junk"}, defaultEnv, []string{"A=3", "B=x=y", "=z", "N=\x00"})
	if want := "A=3 HOME=/root " + defaultEnv[0] + " USER=root B=x=y"; strings.Join(got, " ") != want {
		t.Errorf("environment() = %q; want %q", got, want)
	}
}

func TestHearsTellsWhatAProcessListensTo(t *testing.T) {
	const status = "Name:\tinit\nSigQ:\t0/1\nSigBlk:\t0000000000000800\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000002000000000\n"
	for sig, want := range map[syscall.Signal]bool{
		unix.SIGUSR2: true, 34 + 4: true, unix.SIGTERM: false, 34 + 5: false,
	} {
		if got := hears([]byte(status), sig); got != want {
			t.Errorf("hears(%d) = %v; want %v", sig, got, want)
		}
	}
}
