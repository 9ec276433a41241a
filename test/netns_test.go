package test_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// A netns is a network namespace of a test's own.
type netns struct {
	t    *testing.T
	name string
}

var namespaces atomic.Int32

// namespace makes a network namespace, runs commands in it, and removes it when
// the test ends.
func namespace(t *testing.T, commands ...string) netns {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces; run it as root")
	}
	n := netns{t, fmt.Sprintf("mvm-test-%d-%d", os.Getpid(), namespaces.Add(1))}
	ip(t, "netns", "add", n.name)
	t.Cleanup(func() { ip(t, "netns", "delete", n.name) })
	n.run("ip link set lo up")
	for _, c := range commands {
		n.run(c)
	}
	return n
}

func ip(t *testing.T, arg ...string) string {
	t.Helper()
	out, err := exec.Command("ip", arg...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %q: %v: %s", arg, err, out)
	}
	return string(out)
}

// run runs a command, of words between blanks, which must succeed.
func (n netns) run(command string) string {
	n.t.Helper()
	return ip(n.t, append([]string{"netns", "exec", n.name}, strings.Fields(command)...)...)
}

// links are the namespace's devices, one to a line.
func (n netns) links() string {
	n.t.Helper()
	return ip(n.t, "-n", n.name, "-br", "link")
}

// outside gives the namespace a default route, which leads nowhere, and a name
// server of its own.
func (n netns) outside(peer string) {
	n.t.Helper()
	for _, c := range []string{
		"ip link add wan0 type veth peer name wan1",
		"ip addr add 192.0.2.2/24 dev wan0", "ip addr add 2001:db8::2/64 dev wan0 nodad",
		"ip link set wan0 up", "ip link set wan1 up",
		"ip route add default via 192.0.2.1", "ip -6 route add default via 2001:db8::1 dev wan0",
	} {
		n.run(c)
	}
	// ip-netns(8) puts these files in the place of /etc's.
	dir := filepath.Join("/etc/netns", n.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		os.RemoveAll(dir)
		os.Remove(filepath.Dir(dir)) // if it was made for this, and is empty
	})
	write(n.t, filepath.Join(dir, "resolv.conf"), "nameserver 192.0.2.2\n")
	n.start(peer, "names", "192.0.2.2")
}

// start runs a program that says when it listens, until the test ends.
func (n netns) start(program string, arg ...string) {
	n.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.name, program}, arg...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		n.t.Fatalf("%s %q: %q, %v", program, arg, line, err)
	}
}

// netpeer builds the program of that name.
func netpeer(t *testing.T, h *test.Host) string {
	t.Helper()
	path := filepath.Join(h.Dir, "netpeer")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./netpeer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in guests, too
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// give copies a program into the guest, as /run/netpeer.
func give(t *testing.T, v *test.VM, program string) {
	t.Helper()
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := v.Command("sh", "-c", "cat >/run/netpeer && chmod +x /run/netpeer")
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copy %s into the guest: %v\n%s", program, err, out)
	}
}
