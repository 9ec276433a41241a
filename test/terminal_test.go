package test_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/test"
)

// A terminal is a person at a terminal, with one program on it.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	shown  chan string // what appears, as it does; closed at the program's end
	seen   string      // since the last await
	all    strings.Builder
}

// openTerminal starts a program on a terminal of its own.
func openTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: master, cmd: cmd, shown: make(chan string, 1024)}
	go func() { // ends with the last process on the terminal
		defer close(term.shown)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			term.shown <- string(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Process.Signal(syscall.SIGTERM)
			term.wait()
		}
		master.Close()
		if t.Failed() {
			t.Logf("the terminal showed:\n%s", strings.ReplaceAll(term.all.String(), "\x1b", "^["))
		}
	})
	return term
}

// await returns when text appears, after what the last await waited for.
func (m *terminal) await(text string) {
	m.t.Helper()
	limit := time.After(test.Limit) // against hanging
	for {
		if _, rest, ok := strings.Cut(m.seen, text); ok {
			m.seen = rest
			return
		}
		select {
		case s, ok := <-m.shown:
			if !ok {
				m.t.Fatalf("the terminal has not shown %q", text)
			}
			m.take(s)
		case <-limit:
			m.t.Fatalf("the terminal has not shown %q within %v", text, test.Limit)
		}
	}
}

func (m *terminal) take(s string) {
	m.seen += s
	m.all.WriteString(s)
}

// typeKeys types at the terminal.
func (m *terminal) typeKeys(keys string) {
	m.t.Helper()
	if _, err := m.master.WriteString(keys); err != nil {
		m.t.Fatal(err)
	}
}

// wait returns the program's exit code.
func (m *terminal) wait() int {
	m.t.Helper()
	for s := range m.shown {
		m.take(s)
	}
	_ = m.cmd.Wait()
	return m.cmd.ProcessState.ExitCode()
}

// modes are the terminal's settings.
func (m *terminal) modes() unix.Termios {
	m.t.Helper()
	t, err := unix.IoctlGetTermios(int(m.master.Fd()), unix.TCGETS)
	if err != nil {
		m.t.Fatal(err)
	}
	return *t
}

// TestConsoleOnATerminal: a person boots a guest, types in its shell, sees the
// answers, and ends it with a status, which is mvm's.
func TestConsoleOnATerminal(t *testing.T) {
	h := host(t)
	m := openTerminal(t, h.Command("run", define(t, h, "typed", "")))
	before := m.modes()
	m.await("ready after ")
	m.await("typed# ")
	m.typeKeys("echo $((6*7))-is-the-answer\r")
	m.await("42-is-the-answer\r\n")
	if raw := m.modes(); raw.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
		t.Error("the terminal is not raw while the guest's console is on it")
	}
	// Ctrl-C is the guest's.
	m.typeKeys("(echo as$((1+1))leep; exec sleep 1000)\r")
	m.await("as2leep")
	m.typeKeys("\x03")
	m.await("typed# ")
	m.typeKeys("exit 7\r")
	m.await("guest poweroff, status 7")
	if after := m.modes(); after != before {
		t.Errorf("the terminal's settings are %+v; want those from before, %+v", after, before)
	}
	if code := m.wait(); code != 7 {
		t.Errorf("mvm run = %d; want 7", code)
	}
}

// TestLeaveKey: Ctrl-] stops the machine, gently; it does not reach the guest.
func TestLeaveKey(t *testing.T) {
	h := host(t)
	m := openTerminal(t, h.Command("run", define(t, h, "left", "")))
	m.await("left# ")
	m.typeKeys("echo a\x1d")
	m.await("asked to stop by Ctrl-]")
	m.await("left: stopped")
	if code := m.wait(); code != 0 {
		t.Errorf("mvm run = %d; want 0", code)
	}
}

// TestExecOnATerminal: a command gets a terminal of the same size and kind.
func TestExecOnATerminal(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "tty", ""))
	v.WaitReady()
	cmd := h.Command("exec", "tty", "sh")
	cmd.Env = append(cmd.Env, "TERM=vt220")
	m := openTerminal(t, cmd)
	m.await("# ")
	m.typeKeys("stty size; echo $TERM\r")
	m.await("33 99\r\n")
	m.await("vt220\r\n")
	if err := unix.IoctlSetWinsize(int(m.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 111}); err != nil {
		t.Fatal(err)
	}
	m.await("# ")
	m.typeKeys("until stty size | grep 44; do sleep 1; done\r")
	m.await("44 111\r\n")
	m.typeKeys("exit 5\r")
	if code := m.wait(); code != 5 {
		t.Errorf("mvm exec sh = %d; want 5", code)
	}
	// Without one, a command on the same terminal gets pipes.
	m = openTerminal(t, h.Command("exec", "-T", "tty", "tty"))
	m.await("not a tty")
	if code := m.wait(); code != 1 {
		t.Errorf("mvm exec -T tty = %d; want 1", code)
	}
}
