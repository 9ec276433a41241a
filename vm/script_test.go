package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/state"
)

func TestAScriptFailsWithItsLastWords(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, text string
		err        string // the end of the error, "" for none
		said       []string
	}{
		{"success", "pwd; echo two >&2; printf three", "", []string{dir, "two", "three"}},
		{"nothing", "", "", nil},
		{"the first failure is the last command", "echo a; false; echo b", "exit status 1; it said last:\na", []string{"a"}},
		{"a status", "exit 7", "exit status 7", nil},
		{"last words", "for i in 1 2 3 4 5 6 7; do echo $i; done; exit 3", "exit status 3; it said last:\n3\n4\n5\n6\n7", []string{"1", "2", "3", "4", "5", "6", "7"}},
		{"a syntax error", "if", "exit status 2; it said last:\nkey: 1: Syntax error: end of file unexpected (expecting \"then\")",
			[]string{`key: 1: Syntax error: end of file unexpected (expecting "then")`}},
		{"a signal", "kill -9 $$", "signal: killed", nil},
		{"a hostile line", `printf 'a\033[2Jb\n'`, "", []string{"a?[2Jb"}},
	}
	for _, tt := range tests {
		var said []string
		x := script{"key", tt.text, dir}
		err := x.run(t.Context(), nil, func(line string) { said = append(said, line) })
		if he := (*HostError)(nil); tt.err != "" && (!errors.As(err, &he) || he.Error() != "key: "+tt.err || he.Hint == "") || tt.err == "" && err != nil {
			t.Errorf("%s: run() = %v; want key: %s", tt.name, err, tt.err)
		}
		if diff := cmp.Diff(tt.said, said); diff != "" {
			t.Errorf("%s: it said (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestAScriptsTalkIsBounded(t *testing.T) {
	var said []string
	x := script{"key", "yes | head -n 5000; head -c 100000 /dev/zero | tr '\\0' x", t.TempDir()}
	if err := x.run(t.Context(), nil, func(line string) { said = append(said, line) }); err != nil {
		t.Fatal(err)
	}
	if len(said) != maxScriptNotes || said[len(said)-1] != "(and more, which is not shown)" {
		t.Errorf("it said %d lines, the last %q", len(said), said[len(said)-1])
	}
	said = nil
	x.text = "head -c 100000 /dev/zero | tr '\\0' x"
	if err := x.run(t.Context(), nil, func(line string) { said = append(said, line) }); err != nil || len(said) != 1 || len(said[0]) != maxScriptLine {
		t.Errorf("a long line: %v, %d lines; want one of %d bytes", err, len(said), maxScriptLine)
	}
}

// TestAScriptsGroupEndsWithIt, when it ends and when it is stopped.
func TestAScriptsGroupEndsWithIt(t *testing.T) {
	stop := errors.New("stop")
	for _, stopped := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		text := "sleep 1000 & echo $!"
		if stopped {
			text += "; echo now; sleep 1000"
		}
		var pid int
		x := script{"key", text, t.TempDir()}
		err := x.run(ctx, nil, func(line string) {
			if line == "now" {
				cancel(stop)
				return
			}
			pid, _ = strconv.Atoi(line)
		})
		if stopped && !errors.Is(err, stop) || !stopped && err != nil {
			t.Errorf("stopped is %v: run() = %v", stopped, err)
		}
		cancel(nil)
		if pid == 0 {
			t.Fatalf("stopped is %v: nothing was started", stopped)
		}
		for { // until it is gone, or a zombie that waits for a parent of its own
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if t.Context().Err() != nil {
				t.Fatalf("stopped is %v: process %d is left: %s", stopped, pid, stat)
			}
		}
	}
}

func TestScriptArgs(t *testing.T) {
	tests := []struct {
		text string
		want []string
		err  string
	}{
		{"", nil, ""},
		{"true", nil, ""},
		{`echo "-device virtio-rng-device"`, []string{"-device", "virtio-rng-device"}, ""},
		{`printf '  -a\t\tb\n\n-c  d \n\n'`, []string{"-a", "b", "-c", "d"}, ""},
		{`printf '%s' "-a 'b c' \"d\" \\e * ~ \$HOME"`, []string{"-a", "'b", "c'", `"d"`, `\e`, "*", "~", "$HOME"}, ""},
		{`printf -- '-a ü,x\240y'`, []string{"-a", "ü,x\xa0y"}, ""},
		{`echo disk.img`, nil, `extraArgsScript: QEMU would take "disk.img" for a disk image; the first argument begins with -`},
		{`echo -S --daemonize`, nil, "extraArgsScript: QEMU would leave mvm, which then could not watch it: leave -daemonize out"},
		{`printf -- '-a\0b'`, nil, "extraArgsScript: it printed a NUL byte, which no program can be given"},
		{`yes -- -x`, nil, "extraArgsScript: it printed more than 65536 bytes"},
		{`echo -a; echo oops >&2; exit 4`, nil, "extraArgsScript: exit status 4; it said last:\noops"},
	}
	for _, tt := range tests {
		if strings.HasPrefix(tt.text, "yes") {
			tt.text += " | head -c 100000"
		}
		s := &supervisor{c: &Config{ExtraArgsScript: tt.text}, place: state.Machine{State: t.TempDir()}, journal: newJournal()}
		got, err := s.scriptArgs(t.Context())
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: error = %v; want %q", tt.text, err, tt.err)
		}
		if err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("%s: scriptArgs() = %q; want %q", tt.text, got, tt.want)
		}
	}
}

func TestTheSocketIsTheOwnersAndNobodyElses(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &supervisor{c: &Config{Name: "a", Socket: "qmp"}, place: state.Machine{State: deep}}
	path := filepath.Join(deep, "qmp")
	for range 2 { // the second time over one that a dead mvm has left
		f, _, err := s.listenQMP()
		if err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode() != os.ModeSocket|0o600 {
			t.Errorf("the socket is %v, %v; want mode 0600", fi.Mode(), err)
		}
		f.Close()
	}
	f, remove, err := s.listenQMP()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.listenQMP(); err == nil || !strings.Contains(err.Error(), "another program answers on it") {
		t.Errorf("a second listener: %v; want that another program answers", err)
	}
	conn, err := net.FileConn(f)
	if err == nil {
		conn.Close()
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after remove: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	he := (*HostError)(nil)
	if _, _, err := s.listenQMP(); !errors.As(err, &he) || !strings.Contains(err.Error(), "something else, which is no socket") {
		t.Errorf("over a file: %v; want a HostError", err)
	}
	s.c.Socket = "/nonesuch/qmp"
	if _, _, err := s.listenQMP(); !errors.As(err, &he) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("in no directory: %v; want a HostError", err)
	}
}
