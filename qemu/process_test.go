package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fake returns the path of the fake QEMU, building it once.
var fake = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mvm-fakeqemu-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "fakeqemu")
	out, err := exec.Command("go", "build", "-o", path, "../test/fakeqemu").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if os.Getenv("QEMU_TEST_SUPERVISOR") != "" {
		superviseForTest()
	}
	code := m.Run()
	if path, err := fake(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// limited returns a context that fails the test rather than let it hang.
func limited(t *testing.T) context.Context {
	c, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the test hangs"))
	t.Cleanup(cancel)
	return c
}

// fakeOptions start the fake QEMU with a script.
func fakeOptions(t *testing.T, script string) StartOptions {
	t.Helper()
	path, err := fake()
	if err != nil {
		t.Fatal(err)
	}
	return StartOptions{Binary: path, Env: append(os.Environ(), "FAKEQEMU_SCRIPT="+script)}
}

func startFake(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(limited(t), base(), fakeOptions(t, script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestQuitEndsQEMUWithoutAnError(t *testing.T) {
	p := startFake(t, "")
	if got, want := p.QMP().Version().String(), "7.2.0"; got != want {
		t.Errorf("Version() = %s; want %s", got, want)
	}
	if s, err := p.QMP().QueryStatus(limited(t)); err != nil || s != (Status{false, "prelaunch"}) {
		t.Errorf("QueryStatus() = %+v, %v; want prelaunch", s, err)
	}
	if err := p.QMP().Cont(limited(t)); err != nil {
		t.Error(err)
	}
	if err := p.QMP().Quit(limited(t)); err != nil {
		t.Error(err)
	}
	if err := p.Wait(limited(t)); err != nil {
		t.Errorf("Wait() = %v; want nil", err)
	}
	if e := p.Ending(); e.Shutdown == nil || *e.Shutdown != (Shutdown{false, "host-qmp-quit"}) {
		t.Errorf("Ending() = %+v; want host-qmp-quit", e)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal() after the end = %v; want os.ErrProcessDone", err)
	}
}

func TestEventsTellWhatHappens(t *testing.T) {
	p := startFake(t, `on cont answer; on cont event GUEST_PANICKED {"action":"pause"}; on cont event SHUTDOWN {"guest":true,"reason":"guest-panic"}; on cont exit 0`)
	if err := p.QMP().Cont(limited(t)); err != nil {
		t.Fatal(err)
	}
	events := p.QMP().Events()
	var names []string
	for {
		e, err := events.Next(limited(t))
		if errors.Is(err, ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	if got, want := strings.Join(names, " "), "GUEST_PANICKED SHUTDOWN"; got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
	<-p.Done()
	if e := p.Ending(); e.Panic == nil || e.Shutdown == nil || e.Shutdown.Reason != "guest-panic" {
		t.Errorf("Ending() = %+v; want a panic", e)
	}
}

func TestAFloodOfEventsHidesNoEnding(t *testing.T) {
	p := startFake(t, "events 20000")
	if err := p.QMP().SystemPowerdown(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(limited(t)); err != nil {
		t.Fatal(err)
	}
	if e := p.Ending(); e.Shutdown == nil || e.Shutdown.Reason != "guest-shutdown" {
		t.Errorf("Ending() = %+v; want guest-shutdown", e)
	}
}

func TestStartFailsWithWhatQEMUSaid(t *testing.T) {
	tests := []struct {
		name, script string
		err          string // all of the message
		hint         string // part of the hint; "" means no HostError
	}{
		{"plain", "stderr qemu-system-x86_64: warning: x; stderr qemu-system-x86_64: -foo: invalid option; exit 1",
			"QEMU exited with status 1: -foo: invalid option", ""},
		{"nothing said", "exit 3", "QEMU exited with status 3", ""},
		{"status 0", "exit 0", "QEMU exited with status 0 before it could be asked anything", ""},
		{"msr", "stderr error: failed to set MSR 0x10a to 0x0; stderr qemu-system-x86_64: ../kvm.c:2852: Assertion `ret == n' failed.; exit 134",
			"start QEMU with KVM: QEMU exited with status 134: error: failed to set MSR 0x10a to 0x0", "accel=tcg"},
		{"permission", "stderr Could not access KVM kernel module: Permission denied; stderr qemu-system-x86_64: failed to initialize kvm: Permission denied; exit 1",
			"open /dev/kvm: QEMU exited with status 1: Could not access KVM kernel module: Permission denied", "kvm group"},
		{"lock", `stderr qemu-system-x86_64: -device virtio-blk-device,drive=a: Failed to get "write" lock; stderr Is another process using the image [/a]?; exit 1`,
			`lock a disk image: QEMU exited with status 1: -device virtio-blk-device,drive=a: Failed to get "write" lock`, "other machine"},
		{"device", "stderr qemu-system-x86_64: -device virtio-mem: 'virtio-mem' is not a valid device model name; exit 1",
			"make a device: QEMU exited with status 1: -device virtio-mem: 'virtio-mem' is not a valid device model name", "complete QEMU"},
		{"kernel", "stderr qemu: could not load kernel '/k': No such file or directory; exit 1",
			"load the kernel: QEMU exited with status 1: qemu: could not load kernel '/k': No such file or directory", "bzImage"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(limited(t), base(), fakeOptions(t, tt.script))
			if err == nil || err.Error() != tt.err {
				t.Errorf("Start() = %v; want %s", err, tt.err)
			}
			var he *HostError
			if errors.As(err, &he) != (tt.hint != "") || he != nil && !strings.Contains(he.Hint, tt.hint) {
				t.Errorf("Start() = %#v; want a hint with %q", err, tt.hint)
			}
		})
	}
}

func TestStartGivesUpOnAQEMUThatDoesNotSpeakQMP(t *testing.T) {
	tests := []struct{ greeting, want string }{
		{"garbage", "start QEMU: QMP greeting: QMP connection closed: QMP protocol violated: "},
		{"cut", "start QEMU: QMP greeting: QMP connection closed: unexpected EOF"},
	}
	for _, tt := range tests {
		_, err := Start(limited(t), base(), fakeOptions(t, "sigterm ignore; greeting "+tt.greeting))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("greeting %s: Start() = %v; want %s…", tt.greeting, err, tt.want)
		}
	}
	enough := errors.New("waited long enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, enough)
	defer cancel()
	if _, err := Start(ctx, base(), fakeOptions(t, "stderr thinking; greeting none")); !errors.Is(err, enough) {
		t.Errorf("greeting none: Start() = %v; want the context's cause", err)
	}
}

func TestAnEventBeforeTheGreetingIsKept(t *testing.T) {
	p := startFake(t, "greeting early-event")
	if e, err := p.QMP().Events().Next(limited(t)); err != nil || e.Name != "NIC_RX_FILTER_CHANGED" {
		t.Errorf("Next() = %v, %v", e, err)
	}
}

func TestADeathIsKnownByItsSignal(t *testing.T) {
	p := startFake(t, "stderr last words; on query-status kill")
	if _, err := p.QMP().QueryStatus(limited(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("QueryStatus() = %v; want ErrClosed", err)
	}
	var ee *ExitError
	if err := p.Wait(limited(t)); !errors.As(err, &ee) || ee.Signal != syscall.SIGKILL || ee.Code != -1 {
		t.Errorf("Wait() = %v; want SIGKILL", err)
	}
	if got, want := p.Err().Error(), "QEMU was ended by signal 9 (killed): last words"; got != want {
		t.Errorf("Err() = %s; want %s", got, want)
	}
}

func TestQMPThatBreaksLeavesTheProcess(t *testing.T) {
	for _, how := range []string{"garbage", "cut", "close"} {
		p := startFake(t, "on query-status "+how)
		if _, err := p.QMP().QueryStatus(limited(t)); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: QueryStatus() = %v; want ErrClosed", how, err)
		}
		<-p.QMP().Done()
		select {
		case <-p.Done():
			t.Errorf("%s: the process has ended: %v", how, p.Err())
		default:
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: Close() = %v", how, err)
		}
	}
}

func TestCloseKillsWhatIgnoresSIGTERM(t *testing.T) {
	p := startFake(t, "sigterm ignore; on quit answer")
	if err := p.QMP().Quit(limited(t)); err != nil {
		t.Errorf("Quit() = %v", err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("Signal() = %v", err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close() = %v; want nil", err)
		}
	}
	if p.State() == nil {
		t.Error("State() = nil after Close")
	}
}

func TestConsoleIsReadToItsEnd(t *testing.T) {
	p := startFake(t, "console one; console two; on stop exit 0")
	if err := p.QMP().Cont(limited(t)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if _, err := io.ReadFull(p.Console(), buf); err != nil || string(buf) != "one\r\ntwo\r\n" {
		t.Errorf("console = %q, %v", buf, err)
	}
	if err := p.QMP().Stop(limited(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Stop() = %v; want ErrClosed", err)
	}
	if rest, err := io.ReadAll(p.Console()); err != nil || len(rest) != 0 {
		t.Errorf("after the end, console = %q, %v; want nothing", rest, err)
	}
}

func TestAConsoleThatNobodyReadsStopsNothing(t *testing.T) {
	p := startFake(t, "console-flood")
	for range 3 {
		if err := p.QMP().Cont(limited(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.QMP().Quit(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(limited(t)); err != nil {
		t.Error(err)
	}
}

func TestStartChecksItsFiles(t *testing.T) {
	open := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	tests := []struct {
		files []string
		want  string
	}{
		{nil, `the machine wants a file "tap", which was not given`},
		{[]string{"tap", "other"}, `a file "other" was given, which the machine does not want`},
	}
	for _, tt := range tests {
		m, o := base(), fakeOptions(t, "")
		m.NICs = []NIC{{Tap: &TapNet{Files: []string{"tap"}}}}
		o.Files = map[string]*os.File{}
		for _, n := range tt.files {
			o.Files[n] = open()
		}
		if _, err := Start(limited(t), m, o); err == nil || err.Error() != tt.want {
			t.Errorf("Start() = %v; want %s", err, tt.want)
		}
		for n, f := range o.Files {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s was left open", n)
			}
		}
	}
}

func TestStartSaysWhatTheHostLacks(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("not a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ binary, err, hint string }{
		{"qemu-system-nonesuch", "find qemu-system-nonesuch: executable file not found in $PATH", "install qemu-system-x86"},
		{filepath.Join(dir, "nonesuch"), "find " + filepath.Join(dir, "nonesuch") + ": no such file or directory", "install qemu-system-x86"},
		{text, "start " + text + ": exec format error", "kind of host"},
	}
	for _, tt := range tests {
		_, err := Start(limited(t), base(), StartOptions{Binary: tt.binary})
		var he *HostError
		if !errors.As(err, &he) || !strings.Contains(he.Hint, tt.hint) {
			t.Errorf("Start(%s) = %#v; want a hint with %q", tt.binary, err, tt.hint)
			continue
		}
		if err.Error() != tt.err {
			t.Errorf("Start(%s) = %v; want %s", tt.binary, err, tt.err)
		}
	}
}

func TestQEMUIsInAProcessGroupOfItsOwn(t *testing.T) {
	p := startFake(t, "")
	if pgid, err := syscall.Getpgid(p.PID()); err != nil || pgid != p.PID() {
		t.Errorf("process group = %d, %v; want %d", pgid, err, p.PID())
	}
}

func TestRingKeepsTheEnd(t *testing.T) {
	tests := []struct {
		writes []string
		want   string
	}{
		{nil, ""},
		{[]string{"abc", "de"}, "abcde"},
		{[]string{"abcde", "fgh"}, "abcdefgh"},
		{[]string{"abcdefgh", "ij"}, "…cdefghij"},
		{[]string{"ab", "0123456789"}, "…23456789"},
	}
	for _, tt := range tests {
		r := &ring{limit: 8}
		for _, w := range tt.writes {
			if n, err := r.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("Write(%q) = %d, %v", w, n, err)
			}
		}
		if got := r.String(); got != tt.want {
			t.Errorf("after %q: %q; want %q", tt.writes, got, tt.want)
		}
	}
}
