package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// superviseEnv makes the test's program a supervisor: it starts a virtiofsd for
// the directory that the variable names, says so, and waits to be killed.
const superviseEnv = "SIDECAR_TEST_SUPERVISE"

// limit is a deadline against hanging, not a claim.
const limit = time.Minute

func TestMain(m *testing.M) {
	if source := os.Getenv(superviseEnv); source != "" {
		os.Exit(supervise(source, os.Getenv(superviseEnv+"_DAEMON")))
	}
	os.Exit(m.Run())
}

func supervise(source, daemon string) int {
	d, err := FindVirtiofsd(context.Background(), daemon)
	if err == nil {
		var h *Helper
		if h, _, err = d.Start(context.Background(), Virtiofsd{Share: "src", Source: source, Dir: source}); err == nil {
			fmt.Println("started", h.PID())
			select {}
		}
	}
	fmt.Println(err)
	return 1
}

// daemons returns a virtiofsd of each kind: this host's own, and the one that
// scripts/setup fetches.
func daemons(t *testing.T) map[string]*Daemon {
	t.Helper()
	found := make(map[string]*Daemon)
	for _, name := range []string{"", "../../build/virtiofsd"} {
		d, err := FindVirtiofsd(t.Context(), name)
		if err != nil {
			t.Fatalf("%v (run: scripts/setup)", err)
		}
		found[string(d.Kind)] = d
	}
	return found
}

// eachDaemon runs a test with every virtiofsd there is.
func eachDaemon(t *testing.T, f func(t *testing.T, d *Daemon)) {
	t.Helper()
	for kind, d := range daemons(t) {
		t.Run(kind, func(t *testing.T) { f(t, d) })
	}
}

// startDaemon starts a virtiofsd for a directory of the test's.
func startDaemon(t *testing.T, d *Daemon, v Virtiofsd) (*Helper, *os.File) {
	t.Helper()
	if v.Source == "" {
		v.Source = t.TempDir()
	}
	if v.Dir == "" {
		v.Dir = t.TempDir()
	}
	v.Share = "src"
	h, conn, err := d.Start(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		stop(t, h)
	})
	return h, conn
}

func stop(t *testing.T, h *Helper) {
	t.Helper()
	if err := h.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// ended waits for the helper's end.
func ended(t *testing.T, h *Helper) {
	t.Helper()
	select {
	case <-h.Done():
	case <-time.After(limit):
		t.Fatalf("%s does not end", h.Name())
	}
}

// script writes a shell script that stands in for a daemon.
func script(t *testing.T, body string) *Daemon {
	t.Helper()
	path := filepath.Join(t.TempDir(), "virtiofsd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Daemon{Path: path, Kind: Rust, Version: "0", readOnly: true}
}

// exiting is a process that has no files any more and will not run again, though
// the kernel is not yet done with it (PF_EXITING in the kernel's sched.h).
const exiting = 0x4

// group returns the processes of a process group that still run.
func group(t *testing.T, pgid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		flags, _ := strconv.Atoi(f[6])
		if f[0] != "Z" && flags&exiting == 0 && f[2] == strconv.Itoa(pgid) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// gone waits until a process is no more, by its pidfd.
func gone(t *testing.T, fd int) {
	t.Helper()
	if !readable(t, fd) {
		t.Error("the process lives on")
	}
}

// supervisor starts the test's program as a supervisor of a daemon and returns
// its process and the daemon's id.
func supervisor(t *testing.T, d *Daemon, source string, as *syscall.Credential) (*exec.Cmd, int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if as != nil { // the test's own directory is closed to others
		b, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		exe = filepath.Join(source, "supervisor")
		if err := os.WriteFile(exe, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), superviseEnv+"="+source, superviseEnv+"_DAEMON="+d.Path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	var pid int
	if n, _ := fmt.Sscanf(line, "started %d", &pid); n != 1 {
		t.Fatalf("the supervisor says %q, %v", line, err)
	}
	return cmd, pid
}
