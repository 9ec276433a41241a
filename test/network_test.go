package test_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestGuestsReachEachOtherOverABridge runs two machines in a network namespace
// of the test's own: each has a tap on one bridge. They reach the host's address
// on the bridge and one another, and nothing of theirs is left at the end.
func TestGuestsReachEachOtherOverABridge(t *testing.T) {
	ns := namespace(t, "ip link add br0 type bridge", "ip addr add 10.77.0.1/24 dev br0", "ip link set br0 up")
	h := host(t)
	define(t, h, "left", "[[interfaces]]\ntype = \"tap\"\nid = \"vm-left\"\nbridge = \"br0\"\n")
	define(t, h, "right", "vcpu = 2\n[[interfaces]]\ntype = \"tap\"\nid = \"vm-right\"\nbridge = \"br0\"\n")
	mvm := func(arg ...string) string {
		t.Helper()
		cmd := h.Command(arg...)
		cmd.Args = append([]string{"ip", "netns", "exec", ns, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/sbin/ip"
		e := run(t, cmd)
		if e.Code != 0 {
			t.Fatalf("mvm %q = %d\n%s%s", arg, e.Code, e.Stdout, e.Stderr)
		}
		return e.Stdout
	}
	for i, name := range []string{"left", "right"} {
		mvm("start", "--wait", h.Dir+"/"+name+".toml")
		kill := h.Command("kill", name)
		t.Cleanup(func() { // the test's context is over by then
			cmd := exec.Command(kill.Path, kill.Args[1:]...)
			cmd.Env = kill.Env
			_ = cmd.Run() // it has ended, unless the test failed
		})
		mvm("exec", name, "--", "sh", "-c", fmt.Sprintf("ip addr add 10.77.0.%d/24 dev eth0 && ip link set eth0 up", i+2))
	}
	// The first packets are lost while the guests' cards and the bridge's ports
	// come up.
	for _, who := range []struct{ name, to string }{{"left", "10.77.0.1"}, {"left", "10.77.0.3"}, {"right", "10.77.0.2"}} {
		out := mvm("exec", who.name, "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do ping -c 1 -W 2 "+who.to+" && exit 0; done; exit 1")
		if !strings.Contains(out, "1 packets received") {
			t.Errorf("%s does not reach %s:\n%s", who.name, who.to, out)
		}
	}
	if out := mvm("exec", "right", "--", "ls", "/sys/class/net/eth0/queues"); !strings.Contains(out, "rx-0") {
		t.Errorf("the guest's queues: %q", out)
	}
	mvm("stop", "left")
	mvm("stop", "right")
	left, err := exec.Command("ip", "-n", ns, "-br", "link").CombinedOutput()
	if err != nil || strings.Contains(string(left), "vm-") {
		t.Errorf("devices at the end: %v\n%s", err, left)
	}
}

// namespace makes a network namespace, runs commands in it, and removes it when
// the test ends.
func namespace(t *testing.T, commands ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces; run it as root")
	}
	ns := fmt.Sprintf("mvm-test-%d", os.Getpid())
	ip := func(arg ...string) {
		t.Helper()
		if out, err := exec.Command("ip", arg...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v: %s", arg, err, out)
		}
	}
	ip("netns", "add", ns)
	t.Cleanup(func() { ip("netns", "delete", ns) })
	for _, c := range append([]string{"ip link set lo up"}, commands...) {
		ip(append([]string{"netns", "exec", ns}, strings.Fields(c)...)...)
	}
	return ns
}
