package test_test

import (
	"fmt"
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
	h.Namespace = ns.name
	define(t, h, "left", "[[interfaces]]\ntype = \"tap\"\nid = \"vm-left\"\nbridge = \"br0\"\n")
	define(t, h, "right", "vcpu = 2\n[[interfaces]]\ntype = \"tap\"\nid = \"vm-right\"\nbridge = \"br0\"\n")
	mvm := func(arg ...string) string {
		t.Helper()
		e := h.Mvm(arg...)
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
	left := ns.links()
	if strings.Contains(left, "vm-") {
		t.Errorf("devices at the end:\n%s", left)
	}
}
