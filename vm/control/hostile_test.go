package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/console"
)

// TestMain lets this program be another user, who asks at a socket.
func TestMain(m *testing.M) {
	if path := os.Getenv("CONTROL_TEST_SOCKET"); path != "" {
		_, err := NewClient("myvm", path).Status(context.Background())
		if err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestOnlyTheOwnerIsAnswered: the kernel says who connects, whatever the modes of
// directories and sockets are.
func TestOnlyTheOwnerIsAnswered(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "mvm-control-") // t.TempDir's parent is private
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	serve(t, path)
	program := filepath.Join(dir, "program")
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(program, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		uid        uint32
		dir, mode  os.FileMode
		code       int
		wantOutput string
	}{
		{0, 0o755, 0o600, 0, ""},
		{65534, 0o755, 0o600, 1, "permission denied"},
		{65534, 0o777, 0o777, 1, "myvm: "}, // it is hung up on
	} {
		if err := errors.Join(os.Chmod(dir, tt.dir), os.Chmod(path, tt.mode)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "CONTROL_TEST_SOCKET="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.uid, Gid: tt.uid}}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.wantOutput) {
			t.Errorf("user %d, socket %v: %d, %q; want %d, %q", tt.uid, tt.mode, code, out, tt.code, tt.wantOutput)
		}
	}
}

// TestTheKeyboardIsFreeWhenItsClientLeaves: though the guest takes nothing of what
// was typed.
func TestTheKeyboardIsFreeWhenItsClientLeaves(t *testing.T) {
	m, c := serve(t, filepath.Join(t.TempDir(), "s"))
	guest, host := net.Pipe() // which takes nothing until it is read
	defer guest.Close()
	m.hub = console.NewHub(host, io.Discard)
	first, err := c.Console(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Write(bytes.Repeat([]byte("typed"), 20_000)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Console(t.Context(), 0); err == nil {
		t.Error("Console() while somebody types = nil; want an error")
	}
	first.Close()
	var second io.ReadWriteCloser
	for err := errors.New("not tried yet"); err != nil; {
		if second, err = c.Console(t.Context(), 0); err != nil && !strings.Contains(err.Error(), "somebody else") {
			t.Fatal(err)
		}
	}
	defer second.Close()
	go io.WriteString(second, "anew")
	buf := make([]byte, 1<<20)
	var got []byte
	for !bytes.HasSuffix(got, []byte("anew")) {
		n, err := guest.Read(buf)
		if err != nil {
			t.Fatalf("the guest was typed %q, %v; want anew at its end", got, err)
		}
		got = append(got, buf[:n]...)
	}
}

// TestACommandGoesWithItsClient: though the guest does not listen.
func TestACommandGoesWithItsClient(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	m := &machine{agent: agent.New(host), status: Status{Name: "deaf", State: Ready}, events: make(chan Event, 8)}
	defer m.agent.Close()
	path := filepath.Join(t.TempDir(), "s")
	s, err := Serve(path, m)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	hello, err := handoff.JSON(handoff.KindHello, 0, handoff.Hello{Version: handoff.Version})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		guest.Write(handoff.AppendFrame(nil, hello))
		_, _ = handoff.ReadFrame(guest) // the command, and nothing after it
	}()
	conn, session, err := NewClient("deaf", path).Exec(t.Context(), handoff.Exec{Argv: []string{"sleep"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := errors.Join(session.Signal(t.Context(), 2), session.Resize(t.Context(), handoff.Size{Rows: 1})); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	for end := time.Now().Add(10 * closeLimit); proxies() > 0; {
		if time.Now().After(end) {
			t.Fatal("the command's client has left, and its proxy has not")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// proxies is how many commands are being passed on.
func proxies() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("(*proxy).run("))
}

// TestSignalsWithoutEndAreAnsweredByHangingUp: a guest that does not listen is no
// place to keep them.
func TestSignalsWithoutEndAreAnsweredByHangingUp(t *testing.T) {
	p := newProxy(nil, nil)
	for i := range maxSignals {
		if !p.queueControl(func() { p.signals = append(p.signals, i) }) {
			t.Fatalf("signal %d is too many; want %d to be allowed", i, maxSignals)
		}
	}
	for range 1000 {
		if !p.queueControl(func() { p.size = &handoff.Size{} }) {
			t.Fatal("a terminal's size is too many; only the last counts")
		}
	}
	if p.queueControl(func() { p.signals = append(p.signals, 1) }) {
		t.Errorf("signal %d is allowed", maxSignals+1)
	}
}
