package test_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// TestExec runs commands in one guest, as a shell on the host does.
func TestExec(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "execs", ""))
	v.WaitReady()
	tests := []struct {
		name           string
		args           []string
		stdin          string
		stdout, stderr string
		code           int
	}{
		{"output", []string{"execs", "--", "echo", "a  b"}, "", "a  b\n", "", 0},
		{"without dashes", []string{"execs", "echo", "-n", "x"}, "", "x", "", 0},
		{"input", []string{"execs", "--", "cat"}, "line\n", "line\n", "", 0},
		{"standard error", []string{"execs", "--", "sh", "-c", "echo out; echo err >&2"}, "", "out\n", "err\n", 0},
		{"exit code", []string{"execs", "--", "sh", "-c", "exit 42"}, "", "", "", 42},
		{"signal", []string{"execs", "--", "sh", "-c", "kill -TERM $$"}, "", "", "", 143},
		{"directory", []string{"-C", "/nix/store", "execs", "pwd"}, "", "/nix/store\n", "", 0},
		{"environment", []string{"-e", "A=b c", "execs", "sh", "-c", "echo $A"}, "", "b c\n", "", 0},
		{"a definition's file for a name", []string{h.Dir + "/execs.toml", "--", "hostname"}, "", "execs\n", "", 0},
		{"no such command", []string{"execs", "--", "nonesuch"}, "", "",
			"mvm: error: nonesuch: command not found\n", 127},
		{"not executable", []string{"execs", "--", "/proc/version"}, "", "", "mvm: error: /proc/version: permission denied\n", 126},
		{"no such machine", []string{"others", "--", "true"}, "", "",
			"mvm: error: others: not running\nmvm: hint: mvm ps shows what runs\n", 103},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := h.Command(append([]string{"exec"}, tt.args...)...)
			cmd.Stdin = strings.NewReader(tt.stdin)
			e := run(t, cmd)
			if e.Code != tt.code || e.Stdout != tt.stdout || e.Stderr != tt.stderr {
				t.Errorf("mvm exec %q = %d, %q, %q; want %d, %q, %q",
					tt.args, e.Code, e.Stdout, e.Stderr, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
	t.Run("megabytes there and back", func(t *testing.T) { execMegabytes(t, v) })
	t.Run("a reader that leaves", func(t *testing.T) { execAndLeave(t, v) })
	t.Run("many at once", func(t *testing.T) { execMany(t, v) })
	t.Run("copies", func(t *testing.T) { copyFiles(t, h, v) })
	t.Run("copies that fail", func(t *testing.T) { copyAndFail(t, h, v) })
	t.Run("a copy that is interrupted", func(t *testing.T) { copyAndLeave(t, h, v) })
	t.Run("users", func(t *testing.T) { execAsUser(t, h, v) })
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
}

// run runs a command to its end.
func run(t *testing.T, cmd *exec.Cmd) test.Ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return test.Ended{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

func execMegabytes(t *testing.T, v *test.VM) {
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	cmd := v.Command("cat")
	cmd.Stdin = bytes.NewReader(data)
	if e := run(t, cmd); e.Code != 0 || e.Stdout != string(data) {
		t.Errorf("cat of %d bytes = %d with %d bytes, sum %x; want 0 and the same",
			len(data), e.Code, len(e.Stdout), sha256.Sum256([]byte(e.Stdout)))
	}
}

// execAndLeave: "mvm exec … yes | head -1" ends, and the command in the guest does.
func execAndLeave(t *testing.T, v *test.VM) {
	cmd := v.Command("sh", "-c", "exec yes this-is-endless")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("this-is-endless\n"))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "this-is-endless\n" {
		t.Errorf("the first line is %q, %v", line, err)
	}
	out.Close()
	_ = cmd.Wait() // its code is that of a program whose reader left
	if left := v.Exec("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do pgrep -f this-is-endles[s] || exit 0; sleep 1; done"); left != "" && strings.Count(left, "\n") > 8 {
		t.Errorf("the command still runs in the guest: %q", left)
	}
}

func execMany(t *testing.T, v *test.VM) {
	type result struct {
		i int
		e string
	}
	const many = 8
	results := make(chan result, many)
	for i := range many {
		go func() {
			out, err := v.Command("sh", "-c", fmt.Sprintf("seq 1 2000; exit %d", i)).Output()
			results <- result{i, fmt.Sprintf("%d bytes, %v", len(out), err)}
		}()
	}
	for range many {
		r := <-results
		want := fmt.Sprintf("8893 bytes, exit status %d", r.i)
		if r.i == 0 {
			want = "8893 bytes, <nil>"
		}
		if r.e != want {
			t.Errorf("command %d of %d = %s; want %s", r.i, many, r.e, want)
		}
	}
}
