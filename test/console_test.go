package test_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

// TestConsoleFlood: a guest that writes 20 MB to its console is slowed down by
// nobody, all of it passes through, and the log keeps its end and its limit.
func TestConsoleFlood(t *testing.T) {
	const lines, size = 20_000, 1000 // 20 MB
	h := host(t)
	v := h.Start(define(t, h, "flood", `kernelParams = ["myvm.noshell"]`))
	v.WaitReady()
	line := strings.Repeat("x", size-2) // and CR LF
	v.Exec("sh", "-c", "yes "+line+" | head -n 20000 >/dev/console; echo flood is over >/dev/console")
	v.AwaitOutput("flood is over")
	e := v.Stop()
	if e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
	if got := strings.Count(e.Stdout, line+"\r\n"); got != lines {
		t.Errorf("%d lines of %d passed through mvm", got, lines)
	}
	logs, err := filepath.Glob(h.Dirs().Machine("flood").ConsoleLog() + "*")
	if err != nil || len(logs) == 0 {
		t.Fatalf("no console log: %v", err)
	}
	var kept int64
	for _, f := range logs {
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		kept += fi.Size()
	}
	if kept < 1<<20 || kept > 16<<20 {
		t.Errorf("the log keeps %d bytes in %q; want a few megabytes of 20", kept, logs)
	}
	if !strings.Contains(v.Console(), "flood is over") {
		t.Error("the log lacks the console's end")
	}
}

// TestNobodyReads: a reader that has stopped reading mvm's output holds up neither
// the guest nor its end.
func TestNobodyReads(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command []string // of mvm run
		flood   string   // in the guest, with a reader in the way of nothing
	}{
		{"the console", nil, "yes unread | head -c 300000 >/dev/console"},
		{"a command", []string{"--", "yes", "unread"}, "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := h.Command(append([]string{"run", define(t, h, "unread", "")}, tt.command...)...)
			cmd.Stdout = w
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			for ready := false; !ready; time.Sleep(50 * time.Millisecond) {
				s := h.Running()
				ready = len(s) == 1 && s[0].State == control.Ready
			}
			if e := h.Mvm("exec", "unread", "--", "sh", "-c", tt.flood); e.Code != 0 {
				t.Errorf("mvm exec = %d; want 0\n%s", e.Code, e.Stderr)
			}
			if e := h.Mvm("stop", "unread"); e.Code != 0 {
				t.Errorf("mvm stop = %d; want 0\n%s", e.Code, e.Stderr)
			}
			_ = cmd.Wait() // the exit status is looked at
			// A command that was cut short is no success.
			want := 0
			if tt.command != nil {
				want = 128 + int(syscall.SIGTERM)
			}
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("mvm run = %d; want %d\n%s", got, want, stderr.String())
			}
		})
	}
}

// TestReaderLeaves: when the reader of mvm's output goes, the guest is powered off,
// as a command would end, and mvm says no error.
func TestReaderLeaves(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command []string // of mvm run
		code    int
	}{
		{"the console", nil, 0},
		{"a command", []string{"--", "yes", "Hello"}, 141},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			cmd := h.Command(append([]string{"run", define(t, h, "short", "")}, tt.command...)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for seen := ""; !strings.Contains(seen, "Hello"); {
				buf := make([]byte, 100)
				n, err := out.Read(buf)
				if err != nil {
					t.Fatalf("%v\n%s", err, stderr.String())
				}
				seen += string(buf[:n])
			}
			out.Close()
			if len(tt.command) == 0 { // a console is quiet until somebody types
				for cmd.ProcessState == nil && len(h.Running()) > 0 {
					_ = h.Command("exec", "short", "--", "sh", "-c", "echo more >/dev/console").Run()
				}
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || len(errorsOf(stderr.String())) != 0 {
				t.Errorf("mvm run = %d; want %d and no error\n%s", code, tt.code, stderr.String())
			}
		})
	}
}
