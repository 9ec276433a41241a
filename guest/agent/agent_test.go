package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

func TestCommandsGetInputAndGiveOutput(t *testing.T) {
	tests := []struct {
		name  string
		exec  handoff.Exec
		stdin string
		want  result
	}{
		{"stdin to stdout", handoff.Exec{Argv: []string{"cat"}}, "hello\n", result{Stdout: "hello\n", Credit: 6}},
		{"stderr", handoff.Exec{Argv: []string{"sh", "-c", "echo out; echo err >&2"}}, "", result{Stdout: "out\n", Stderr: "err\n"}},
		{"exit code", handoff.Exec{Argv: []string{"sh", "-c", "exit 42"}}, "", result{Exited: handoff.Exited{Code: 42}}},
		{"killed", handoff.Exec{Argv: []string{"sh", "-c", "kill -9 $$"}}, "", result{Exited: handoff.Exited{Code: 128 + 9}}},
		{"SIGTERM is not ignored", handoff.Exec{Argv: []string{"sh", "-c", "kill -15 $$; echo still here"}}, "", result{Exited: handoff.Exited{Code: 128 + 15}}},
		{"directory", handoff.Exec{Argv: []string{"pwd"}, Dir: "/usr"}, "", result{Stdout: "/usr\n"}},
		{"default directory", handoff.Exec{Argv: []string{"pwd"}}, "", result{Stdout: "/\n"}},
		{"environment", handoff.Exec{Argv: []string{"sh", "-c", "echo $A $HOME"}, Env: []string{"A=1", "HOME=/h", "A=2"}}, "", result{Stdout: "2 /h\n"}},
		{"input that nobody reads", handoff.Exec{Argv: []string{"true"}}, "lost", result{Credit: 4}},
		{"what is left running is not waited for", handoff.Exec{Argv: []string{"sh", "-c", "sleep 300 & echo $!"}}, "", result{}},
		{"not found", handoff.Exec{Argv: []string{"nonesuch"}}, "", result{Exited: handoff.Exited{Code: 127, Err: "nonesuch: command not found"}}},
		{"not found by path", handoff.Exec{Argv: []string{"/none/such"}}, "", result{Exited: handoff.Exited{Code: 127, Err: "/none/such: no such file or directory"}}},
		{"not executable", handoff.Exec{Argv: []string{"/etc/passwd"}}, "", result{Exited: handoff.Exited{Code: 126, Err: "/etc/passwd: permission denied"}}},
		{"no such directory", handoff.Exec{Argv: []string{"true"}, Dir: "/none"}, "", result{Exited: handoff.Exited{Code: 126, Err: "/none is not a directory"}}},
		{"empty", handoff.Exec{}, "", result{Exited: handoff.Exited{Code: 126, Err: "no command given"}}},
		{"not found on a terminal", handoff.Exec{Argv: []string{"/none/such"}, TTY: &handoff.Size{}}, "", result{Exited: handoff.Exited{Code: 127, Err: "/none/such: no such file or directory"}}},
		{"terminal", handoff.Exec{Argv: []string{"sh", "-c", "tty >/dev/null && stty size; exit 3"}, TTY: &handoff.Size{Rows: 7, Cols: 70}}, "",
			result{Stdout: "7 70\r\n", Exited: handoff.Exited{Code: 3}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := connect(t)
			h.sendJSON(handoff.KindExec, 1, tt.exec)
			if tt.stdin != "" {
				h.send(handoff.KindStdin, 1, []byte(tt.stdin))
				h.send(handoff.KindStdin, 1, nil)
			}
			got := h.collect(1)
			if strings.HasPrefix(tt.name, "what is left") {
				pid, err := strconv.Atoi(strings.TrimSpace(got.Stdout))
				if err != nil {
					t.Fatal(err)
				}
				_ = unix.Kill(pid, unix.SIGKILL)
				got.Stdout = ""
			}
			if tt.name == "input that nobody reads" {
				got.Credit = tt.want.Credit // it may have ended before it came
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("exec %q (-want +got):\n%s", tt.exec.Argv, diff)
			}
		})
	}
}

func TestOutputIsWholeHoweverFastTheCommandEnds(t *testing.T) {
	h := connect(t)
	for i := range uint32(60) {
		e := handoff.Exec{Argv: []string{"sh", "-c", fmt.Sprintf("printf %%040000d %d; exit %d", i, i)}}
		if i%3 == 0 {
			e.TTY = &handoff.Size{Rows: 24, Cols: 80}
		}
		h.sendJSON(handoff.KindExec, i+1, e)
		if got, want := h.collect(i+1), fmt.Sprintf("%040000d", i); got.Stdout != want || got.Exited.Code != int(i) {
			t.Fatalf("command %d: %d bytes, code %d; want %d bytes, code %d", i, len(got.Stdout), got.Exited.Code, len(want), i)
		}
	}
}

func TestManyCommandsAtOnce(t *testing.T) {
	h := connect(t)
	for i := range uint32(handoff.MaxStreams) {
		h.sendJSON(handoff.KindExec, i+1, handoff.Exec{Argv: []string{"cat"}})
		h.send(handoff.KindStdin, i+1, fmt.Appendf(nil, "command %d", i))
	}
	for i := range uint32(handoff.MaxStreams) {
		h.send(handoff.KindStdin, i+1, nil)
		if got, want := h.collect(i+1).Stdout, fmt.Sprintf("command %d", i); got != want {
			t.Errorf("command %d wrote %q; want %q", i, got, want)
		}
	}
}

func TestSlowHostBoundsOutput(t *testing.T) {
	h := connect(t)
	h.sendJSON(handoff.KindExec, 1, handoff.Exec{Argv: []string{"head", "-c", "3000000", "/dev/zero"}})
	h.sendJSON(handoff.KindExec, 2, handoff.Exec{Argv: []string{"echo", "not stuck"}})
	if got := h.collect(2).Stdout; got != "not stuck\n" {
		t.Errorf("the second command wrote %q", got)
	}
	// All that may come without credit, but for what is kept for standard
	// error, and then nothing.
	total := 0
	for total < handoff.Window-handoff.MaxData {
		f := h.next(1)
		if total += len(f.Payload); len(f.Payload) > handoff.MaxData {
			t.Errorf("frame of %d bytes; want at most %d", len(f.Payload), handoff.MaxData)
		}
	}
	h.send(handoff.KindPing, 0, []byte("still there?"))
	if f := h.want(handoff.KindPong, 0); string(f.Payload) != "still there?" {
		t.Errorf("pong = %q", f.Payload)
	}
	if total > handoff.Window || len(h.pending) > 0 {
		t.Errorf("%d bytes and %d frames came without credit; want %d bytes", total, len(h.pending), handoff.Window)
	}
	h.send(handoff.KindCredit, 1, handoff.Credit(1, total).Payload)
	if got := total + len(h.collect(1).Stdout); got != 3000000 {
		t.Errorf("%d bytes came in all; want 3000000", got)
	}
}

func TestTerminalTakesKeysAndSize(t *testing.T) {
	h := connect(t)
	h.sendJSON(handoff.KindExec, 1, handoff.Exec{Argv: []string{"sh", "-c", "stty -echo; echo on; read a; stty size; cat; exit 5"}, TTY: &handoff.Size{Rows: 1, Cols: 2}})
	if f := h.want(handoff.KindStdout, 1); string(f.Payload) != "on\r\n" {
		t.Fatalf("first output = %q", f.Payload)
	}
	h.send(handoff.KindCredit, 1, handoff.Credit(1, 4).Payload)
	h.sendJSON(handoff.KindResize, 1, handoff.Size{Rows: 50, Cols: 100})
	h.send(handoff.KindStdin, 1, []byte("\n"))
	h.send(handoff.KindStdin, 1, []byte("typed\n"))
	h.send(handoff.KindStdin, 1, nil)
	got := h.collect(1)
	if want := (result{Stdout: "50 100\r\ntyped\r\n", Credit: 7, Exited: handoff.Exited{Code: 5}}); got != want {
		t.Errorf("terminal = %+v; want %+v", got, want)
	}

	h.sendJSON(handoff.KindExec, 2, handoff.Exec{Argv: []string{"sh", "-c", "echo on; exec sleep 300"}, TTY: &handoff.Size{}})
	h.want(handoff.KindStdout, 2)
	h.send(handoff.KindStdin, 2, []byte{3}) // Ctrl-C
	if got := h.collect(2).Exited.Code; got != 128+int(unix.SIGINT) {
		t.Errorf("sleep ended with %d at Ctrl-C; want 130", got)
	}
}

func TestSignalReachesTheGroup(t *testing.T) {
	for _, tty := range []*handoff.Size{nil, {}} {
		h := connect(t)
		h.sendJSON(handoff.KindExec, 1, handoff.Exec{Argv: []string{"sh", "-c", "echo on; sleep 300; echo not reached"}, TTY: tty})
		h.want(handoff.KindStdout, 1)
		h.sendJSON(handoff.KindSignal, 1, handoff.Signal{Signal: int(unix.SIGTERM)})
		if got := h.collect(1); got.Exited.Code != 128+15 || got.Stdout != "" {
			t.Errorf("with terminal %v: %+v; want code 143", tty, got)
		}
	}
}

func TestCloseKillsTheGroup(t *testing.T) {
	h := connect(t)
	h.sendJSON(handoff.KindExec, 1, handoff.Exec{Argv: []string{"sh", "-c", "sleep 300 & echo $!; wait"}})
	pid := pidOf(t, h.want(handoff.KindStdout, 1))
	h.send(handoff.KindClose, 1, nil)
	h.collect(1)
	awaitGone(t, pid)
}

func TestEndOfSessionKillsCommands(t *testing.T) {
	h := connect(t)
	h.sendJSON(handoff.KindExec, 1, handoff.Exec{Argv: []string{"sh", "-c", "sleep 300 & echo $!; yes"}})
	pid := pidOf(t, h.want(handoff.KindStdout, 1))
	h.conn.Close()
	if err := h.ended(); err == nil {
		t.Error("Serve() = nil; want an error")
	}
	awaitGone(t, pid)
}

func pidOf(t *testing.T, f handoff.Frame) int {
	t.Helper()
	line, _, _ := strings.Cut(string(f.Payload), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// awaitGone waits until a process, which may be a zombie that nobody reaps, is
// no longer running.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds())); n != 1 {
		t.Errorf("process %d still runs (%v)", pid, err)
	}
}

func TestHostThatBreaksARuleIsNotListenedTo(t *testing.T) {
	exec := func(h *host) {
		h.sendJSON(handoff.KindExec, 1, handoff.Exec{Argv: []string{"sleep", "300"}})
	}
	tests := []struct {
		name    string
		misdeed func(*host)
	}{
		{"unknown kind", func(h *host) { h.send(99, 1, nil) }},
		{"guest's kind", func(h *host) { h.send(handoff.KindReady, 0, nil) }},
		{"command's kind on stream 0", func(h *host) { h.send(handoff.KindStdin, 0, nil) }},
		{"guest's kind on a command's stream", func(h *host) { h.send(handoff.KindPing, 3, nil) }},
		{"exec that is not JSON", func(h *host) { h.send(handoff.KindExec, 1, []byte("{")) }},
		{"stream in use", func(h *host) { exec(h); exec(h) }},
		{"too many commands", func(h *host) {
			for i := range uint32(handoff.MaxStreams + 1) {
				h.sendJSON(handoff.KindExec, i+1, handoff.Exec{Argv: []string{"cat"}})
			}
		}},
		{"too much input", func(h *host) {
			exec(h)
			for range 2 * handoff.Window / handoff.MaxData {
				h.send(handoff.KindStdin, 1, make([]byte, handoff.MaxData))
			}
		}},
		{"credit for what was not sent", func(h *host) { exec(h); h.send(handoff.KindCredit, 1, handoff.Credit(1, 1).Payload) }},
		{"credit of the wrong size", func(h *host) { h.send(handoff.KindCredit, 1, []byte{1}) }},
		{"long ping", func(h *host) { h.send(handoff.KindPing, 0, make([]byte, 65)) }},
		{"frame that is too long", func(h *host) {
			if _, err := h.conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 32, 0, 0, 0, 1}); err != nil {
				h.t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := connect(t)
			// The agent hangs up when it has seen enough; what is then
			// still written goes nowhere, and that is not the test's failure.
			func() {
				inner := *h
				inner.t = &testing.T{}
				done := make(chan struct{})
				go func() { defer close(done); tt.misdeed(&inner) }()
				<-done
			}()
			if err := h.ended(); !errors.Is(err, handoff.ErrProtocol) {
				t.Errorf("Serve() = %v; want %v", err, handoff.ErrProtocol)
			}
		})
	}
}

func TestFramesForCommandsThatAreOverAreDropped(t *testing.T) {
	h := connect(t)
	h.send(handoff.KindStdin, 9, []byte("x"))
	h.sendJSON(handoff.KindSignal, 9, handoff.Signal{Signal: 9})
	h.sendJSON(handoff.KindResize, 9, handoff.Size{})
	h.send(handoff.KindClose, 9, nil)
	h.send(handoff.KindCredit, 9, handoff.Credit(9, 100).Payload)
	h.send(handoff.KindPing, 0, nil)
	h.want(handoff.KindPong, 0)
	h.conn.Close()
	if err := h.ended(); !errors.Is(err, io.EOF) {
		t.Errorf("Serve() = %v; want %v", err, io.EOF)
	}
}

func TestPoweroffIsDoneOnce(t *testing.T) {
	h := connect(t)
	h.sendJSON(handoff.KindPoweroff, 0, handoff.Poweroff{Reboot: true})
	h.sendJSON(handoff.KindPoweroff, 0, handoff.Poweroff{Reboot: true})
	if reboot := <-h.offs; !reboot {
		t.Error("PowerOff(false) after a request to reboot; want true")
	}
	h.send(handoff.KindPing, 0, nil)
	h.want(handoff.KindPong, 0)
	if len(h.offs) > 0 {
		t.Error("PowerOff was called twice")
	}
}

func TestExitStatusIsPassedOnAndAcknowledged(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if st, err := os.Stat(filepath.Join(dir, socketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket = %v, %v; want mode 0600", st.Mode(), err)
	}
	h := connect(t)
	answered := make(chan error)
	go func() {
		noted, err := askPoweroff(filepath.Join(dir, socketName), 9)
		if err == nil && !noted {
			err = errors.New("the host has not noted it")
		}
		answered <- err
	}()
	fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	go func() { h.agent.answerOne(fd); unix.Close(fd) }()
	var e handoff.Exit
	if err := h.want(handoff.KindExit, 0).Decode(&e); err != nil || e.Status != 9 {
		t.Errorf("exit = %+v, %v; want 9", e, err)
	}
	h.send(handoff.KindAck, 0, nil)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if reboot := <-h.offs; reboot {
		t.Error("PowerOff(true); want false")
	}
}

func TestExitWithoutHostIsNotNoted(t *testing.T) {
	a := &Agent{}
	if a.exit(0, time.Millisecond) {
		t.Error("exit() without a session = true; want false")
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, byte(handoff.KindPing), 0, 0, 0, 0})
	f.Add(handoff.AppendFrame(nil, handoff.Frame{Kind: handoff.KindCredit, Stream: 1, Payload: []byte{0, 0, 0, 1}}))
	f.Add(handoff.AppendFrame(nil, handoff.Frame{Kind: handoff.KindSignal, Stream: 1, Payload: []byte(`{"signal":9}`)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &Agent{Ready: func() handoff.Ready { return handoff.Ready{} }, PowerOff: func(bool) {}}
		s := &session{agent: a, w: io.Discard, commands: map[uint32]*command{}, acks: make(chan struct{}, 1)}
		for r := bytes.NewReader(b); ; {
			fr, err := handoff.ReadFrame(r)
			// Nothing that a fuzzer makes up is to run on the host.
			if err != nil || fr.Kind == handoff.KindExec || s.handle(fr) != nil {
				return
			}
		}
	})
}
