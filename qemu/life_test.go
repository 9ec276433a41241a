package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// superviseForTest is a program that starts a QEMU, says its process id, and
// waits to be killed.
func superviseForTest() {
	m := bare()
	p, err := Start(context.Background(), m, StartOptions{Binary: os.Getenv("QEMU_TEST_SUPERVISOR")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	select {}
}

func TestQEMUDiesWithItsSupervisor(t *testing.T) {
	path, err := fake()
	if err != nil {
		t.Fatal(err)
	}
	for _, binary := range []string{path, "qemu-system-x86_64"} {
		supervisor := exec.Command(os.Args[0])
		supervisor.Env = append(os.Environ(), "QEMU_TEST_SUPERVISOR="+binary, "FAKEQEMU_SCRIPT=sigterm ignore")
		supervisor.Stderr = os.Stderr
		out, err := supervisor.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := supervisor.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		_, err = fmt.Fscan(out, &pid)
		if err != nil {
			t.Fatalf("%s: no process id: %v", binary, err)
		}
		qemu, err := os.FindProcess(pid) // by pidfd: a reused id is no trouble
		if err != nil {
			t.Fatal(err)
		}
		if err := supervisor.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = supervisor.Wait()
		for range 1000 {
			if err = qemu.Signal(syscall.Signal(0)); err != nil || gone(pid) {
				break
			}
			runtime.Gosched()
			exec.Command("sleep", "0.01").Run()
		}
		if err == nil && !gone(pid) {
			t.Errorf("%s: process %d outlives its supervisor", binary, pid)
			_ = qemu.Kill()
		}
	}
}

// gone reports whether the process has ended, though perhaps nobody has reaped
// it: where tests run, process 1 may not.
func gone(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStartAndCloseLeakNothing(t *testing.T) {
	cycle := func() {
		p, err := Start(limited(t), base(), fakeOptions(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Start(limited(t), base(), fakeOptions(t, "exit 1")); err == nil {
			t.Fatal("Start() = nil; want an error")
		}
	}
	cycle() // what the run-time library keeps is there after the first
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 20 {
		cycle()
	}
	if got := openFiles(t); got > files {
		t.Errorf("%d open files after 20 cycles; want %d", got, files)
	}
	// A goroutine that closed its channel may not have returned yet.
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		runtime.Gosched()
		exec.Command("sleep", "0.01").Run()
	}
	t.Errorf("%d goroutines after 20 cycles; want %d", runtime.NumGoroutine(), goroutines)
}

// The real QEMU. It needs files that exist, so it gets no kernel.

func bare() Machine {
	m := base()
	m.Kernel, m.Initrd, m.Append = "", "", ""
	return m
}

func startReal(t *testing.T, m Machine, o StartOptions) *Process {
	t.Helper()
	p, err := Start(limited(t), m, o)
	if err != nil {
		t.Fatalf("%v (the tests need qemu-system-x86)", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestRealQEMUStartsAndQuits(t *testing.T) {
	m := bare()
	p := startReal(t, m, StartOptions{Argv0: "microvm@web"})
	if !p.QMP().Version().AtLeast(7, 2) {
		t.Errorf("Version() = %v; want 7.2 or later", p.QMP().Version())
	}
	if s, err := p.QMP().QueryStatus(limited(t)); err != nil || s != (Status{false, "prelaunch"}) {
		t.Errorf("QueryStatus() = %+v, %v; want prelaunch", s, err)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID()))
	if err != nil || !strings.HasPrefix(string(cmdline), "microvm@web\x00-name\x00") {
		t.Errorf("command line = %q, %v", cmdline, err)
	}
	events := p.QMP().Events()
	if err := p.QMP().Cont(limited(t)); err != nil {
		t.Fatal(err)
	}
	if e, err := events.Next(limited(t)); err != nil || e.Name != "RESUME" {
		t.Errorf("Next() = %v, %v; want RESUME", e, err)
	}
	if err := p.QMP().CtrlAltDel(limited(t)); err != nil {
		t.Errorf("CtrlAltDel() = %v", err)
	}
	if err := p.QMP().SystemPowerdown(limited(t)); err != nil {
		t.Errorf("SystemPowerdown() = %v", err)
	}
	if err := p.QMP().Quit(limited(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(limited(t)); err != nil {
		t.Errorf("Wait() = %v; want nil", err)
	}
	if e := p.Ending(); e.Shutdown == nil || e.Shutdown.Reason != "host-qmp-quit" {
		t.Errorf("Ending() = %+v; want host-qmp-quit", e)
	}
	if rest, err := io.ReadAll(p.Console()); err != nil || len(rest) != 0 {
		t.Errorf("console = %q, %v; want its end", rest, err)
	}
}

func TestRealQEMUsDeathIsNoticed(t *testing.T) {
	m := bare()
	p := startReal(t, m, StartOptions{})
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var ee *ExitError
	if err := p.Wait(limited(t)); !errors.As(err, &ee) || ee.Signal != syscall.SIGKILL {
		t.Errorf("Wait() = %v; want SIGKILL", err)
	}
}

func TestASandboxViolationIsExplained(t *testing.T) {
	m := bare()
	p := startReal(t, m, StartOptions{})
	if err := p.Signal(syscall.SIGSYS); err != nil { // as the filter does
		t.Fatal(err)
	}
	err := p.Wait(limited(t))
	var he *HostError
	if !errors.As(err, &he) || he.Op != "run QEMU in its sandbox" {
		t.Errorf("Wait() = %v; want a HostError about the sandbox", err)
	}
}

func TestRealQEMUsMessageIsTheError(t *testing.T) {
	m := base()
	m.Kernel = "/nonexistent/kernel"
	_, err := Start(limited(t), m, StartOptions{})
	var he *HostError
	if !errors.As(err, &he) || he.Op != "load the kernel" || !strings.Contains(err.Error(), "/nonexistent/kernel") {
		t.Errorf("Start() = %v; want an error about the kernel", err)
	}
	m = base()
	m.Kernel = "/etc/passwd"
	if _, err := Start(limited(t), m, StartOptions{}); !errors.As(err, &he) || he.Op != "load the kernel" {
		t.Errorf("Start() = %v; want an error about the kernel", err)
	}
}

func TestRealQEMURunsUnderTheSandbox(t *testing.T) {
	m := bare()
	p := startReal(t, m, StartOptions{})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Seccomp:\t2", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("status of QEMU lacks %q", want)
		}
	}
}

func TestRealQEMURunsAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change the user: run this test as root")
	}
	m := bare()
	p := startReal(t, m, StartOptions{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534") {
		t.Errorf("QEMU does not run as 65534:\n%s", status)
	}
}
