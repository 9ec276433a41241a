package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// TestUserNetworks: what a guest reaches and who reaches it, with each of the
// back-ends, in a namespace whose default route leads nowhere.
func TestUserNetworks(t *testing.T) {
	t.Run("slirp", func(t *testing.T) {
		n := newUserNetwork(t, `backend = "slirp"`, `
[[forwardPorts]]
host = { address = "127.0.0.1", port = 2001 }
guest.port = 7
[[forwardPorts]]
proto = "udp"
host.port = 2001
guest = { address = "10.0.2.15", port = 7 }
[[forwardPorts]]
from = "guest"
host.port = 3001
guest.port = 3001
`)
		n.ask("tcp", "127.0.0.1:2001", "10.0.2.15:7")
		n.ask("udp", "192.0.2.2:2001", "udp 7")
		for _, proto := range []string{"tcp", "udp"} {
			n.asked(proto, "10.0.2.2:3001", "3001")
			n.asked(proto, "[fec0::2]:3001", "3001")
		}
		n.resolves()
	})
	t.Run("passt", func(t *testing.T) {
		n := newUserNetwork(t, `backend = "auto"`, `
[[forwardPorts]]
host = { address = "127.0.0.1", port = 2001 }
guest.port = 7
[[forwardPorts]]
proto = "udp"
host.port = 2001
guest.port = 7
[[forwardPorts]]
host = { address = "::1", port = 2002 }
guest.port = 7
[[forwardPorts]]
proto = "udp"
host = { address = "2001:db8::2", port = 2002 }
guest = { address = "fec0::15", port = 7 }
[[forwardPorts]]
from = "guest"
host = { address = "127.0.0.1", port = 3001 }
guest = { address = "10.0.2.10", port = 80 }
[[forwardPorts]]
from = "guest"
proto = "udp"
host.port = 3001
guest.port = 4001
[[forwardPorts]]
from = "guest"
host = { address = "::1", port = 3001 }
guest = { address = "fec0::10", port = 80 }
[[forwardPorts]]
from = "guest"
proto = "udp"
host = { address = "192.0.2.2", port = 3001 }
guest = { address = "10.0.2.11", port = 53 }
[[forwardPorts]]
from = "guest"
proto = "udp"
host = { address = "2001:db8::2", port = 3001 }
guest = { address = "fec0::11", port = 53 }
`)
		n.ask("tcp", "127.0.0.1:2001", ":7")
		n.ask("udp", "192.0.2.2:2001", "udp 7")
		n.ask("tcp", "[::1]:2002", ":7")
		n.ask("udp", "[2001:db8::2]:2002", "udp 7")
		n.asked("tcp", "10.0.2.2:3001", "127.0.0.1:3001")
		n.asked("udp", "10.0.2.2:3001", "udp 3001")
		n.asked("tcp", "[fec0::2]:3001", "[::1]:3001")
		n.asked("tcp", "10.0.2.10:80", "127.0.0.1:3001")
		n.asked("udp", "10.0.2.2:4001", "udp 3001")
		n.asked("tcp", "[fec0::10]:80", "[::1]:3001")
		n.asked("udp", "10.0.2.11:53", "udp 3001")
		n.asked("udp", "[fec0::11]:53", "udp 3001")
		n.resolves()
		n.passtDies()
	})
	t.Run("restricted", func(t *testing.T) {
		n := newUserNetwork(t, "restrict = true", `
[[forwardPorts]]
host = { address = "127.0.0.1", port = 2001 }
guest.port = 7
`)
		n.ask("tcp", "127.0.0.1:2001", "10.0.2.15:7")
		for _, address := range []string{"10.0.2.2:3001", "192.0.2.2:3001"} {
			if e := n.h.Mvm("exec", n.vm.Name, "--", "timeout", "5", "/run/netpeer", "ask", "tcp", address, "hello"); e.Code == 0 {
				t.Errorf("the guest reaches %s: %s", address, e.Stdout)
			}
		}
	})
}

// A userNetwork is a guest with a network of type user, in which netpeer serves
// port 7, and a host on which it serves port 3001.
type userNetwork struct {
	t    *testing.T
	h    *test.Host
	ns   netns
	vm   *test.VM
	peer string
}

func newUserNetwork(t *testing.T, user, more string) *userNetwork {
	t.Helper()
	h := host(t)
	n := &userNetwork{t: t, h: h, ns: namespace(t), peer: netpeer(t, h)}
	n.ns.outside(n.peer)
	n.ns.start(n.peer, "serve", "3001")
	h.Namespace = n.ns.name
	n.vm = h.Start(define(t, h, "net", fmt.Sprintf("[[interfaces]]\ntype = \"user\"\nid = \"net0\"\nuser = { %s }\n%s", user, more)))
	n.vm.WaitReady()
	n.configure()
	return n
}

// lease is a script for udhcpc: what the guest is told becomes true. The example's
// own may have been faster, or have given up on a busy host.
const lease = `
[ "$1" = bound ] || exit 0
ip addr replace $ip/$mask dev $interface
[ -z "$router" ] || ip route replace default via $router
for server in $dns; do echo nameserver $server; done >/etc/resolv.conf
echo "leased $ip by $router"
`

// configure has the guest do what an ordinary one does about its network.
func (n *userNetwork) configure() {
	n.t.Helper()
	n.vm.Exec("sh", "-c", "ip link set eth0 up; cat >/run/lease <<'end'\n#!"+busybox(n.t)+" sh"+lease+"end\nchmod +x /run/lease")
	if got := n.vm.Exec("udhcpc", "-q", "-n", "-f", "-t", "30", "-T", "1", "-i", "eth0", "-s", "/run/lease"); !strings.Contains(got, "leased 10.0.2.15 by ") {
		n.t.Errorf("the guest's lease is %q; want 10.0.2.15", got)
	}
	// A router advertisement comes in its time.
	n.vm.Exec("sh", "-c", "for i in $(seq 60); do ip addr show dev eth0 | grep -v tentative | grep 'inet6 fec0::' && exit 0; sleep 1; done; ip addr >&2; exit 1")
	give(n.t, n.vm, n.peer)
	n.vm.Exec("sh", "-c", "/run/netpeer serve 7 >/run/serving & until [ -s /run/serving ]; do sleep 0.1; done")
}

// ask asks the guest at a port of the host's.
func (n *userNetwork) ask(proto, address, want string) {
	n.t.Helper()
	if got := n.ns.run(n.peer + " ask " + proto + " " + address + " hello"); !strings.HasPrefix(got, "hello at ") || !strings.Contains(got, want+" from ") {
		n.t.Errorf("the guest answers %q when asked by %s at %s; want it to be %s", got, proto, address, want)
	}
}

// asked has the guest ask the host.
func (n *userNetwork) asked(proto, address, want string) {
	n.t.Helper()
	got := n.vm.Exec("/run/netpeer", "ask", proto, address, "hello")
	if !strings.HasPrefix(got, "hello at ") || !strings.Contains(got, want+" from ") {
		n.t.Errorf("by %s at %s the guest finds %q; want %s", proto, address, got, want)
	}
}

// resolves: the host's name server answers the guest.
func (n *userNetwork) resolves() {
	n.t.Helper()
	if got := n.vm.Exec("nslookup", "example.org"); !strings.Contains(got, "192.0.2.53") {
		n.t.Errorf("nslookup in the guest says %q; want 192.0.2.53", got)
	}
}

// passtDies: a guest without its network is ended, and the reason kept.
func (n *userNetwork) passtDies() {
	n.t.Helper()
	for _, pid := range children(n.t, n.vm.PID()) {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.HasPrefix(string(name), "passt") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				n.t.Fatal(err)
			}
			want := fmt.Sprintf("passt of interface net0 (process %d) was ended by signal 9", pid)
			if e := n.vm.Wait(); e.Code != 125 || !strings.Contains(e.Stderr, want) {
				n.t.Errorf("mvm run = %d when its passt was killed; want 125 and %q", e.Code, want)
			}
			if why := n.h.Mvm("why", n.vm.Name); !strings.Contains(why.Stdout, "helper died") || !strings.Contains(why.Stdout, want) {
				n.t.Errorf("mvm why = %q; want %q", why.Stdout, want)
			}
			return
		}
	}
	n.t.Error("there is no passt")
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("children of process %d: %v", pid, err)
	}
	var pids []int
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread may have ended
		for f := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, child)
		}
	}
	return pids
}
