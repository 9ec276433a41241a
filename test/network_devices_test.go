package test_test

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
)

const cards = `
vcpu = 2
[[interfaces]]
type = "tap"
id = "vm-tap"
[[interfaces]]
type = "macvtap"
id = "vm-macvtap"
macvtap.link = "wire0"
[[interfaces]]
type = "bridge"
id = "vm-bridge"
bridge = "br0"
mac = "02:00:00:00:00:42"
`

// TestDevicesOfTheHost: a guest with two processors and a card of each kind that
// has a device on the host reaches who is behind each, and they reach it. Then
// the host takes things away, and at last mvm is killed.
func TestDevicesOfTheHost(t *testing.T) {
	h := host(t)
	ns := namespace(t,
		"ip link add wire0 type veth peer name wire1", "ip link set wire0 up", "ip link set wire1 up", "ip addr add 10.78.0.1/24 dev wire1",
		"ip link add br0 type bridge", "ip link set br0 up", "ip addr add 10.77.0.1/24 dev br0")
	h.Namespace = ns.name
	peer := netpeer(t, h)
	ns.start(peer, "serve", "3001")
	definition := define(t, h, "cards", cards)
	v := h.Start(definition)
	v.WaitReady()
	give(t, v, peer)
	v.Exec("sh", "-c", "/run/netpeer serve 7 >/run/serving & until [ -s /run/serving ]; do sleep 0.1; done")

	ns.run("ip addr add 10.79.0.1/24 dev vm-tap") // nobody else is behind a tap without a bridge
	guest := guestCards(t, h, v)
	for i, want := range []struct {
		net    string
		queues string
	}{{"10.79.0", "2"}, {"10.78.0", "2"}, {"10.77.0", "1"}} {
		card := guest[i]
		if card.queues != want.queues {
			t.Errorf("%s has %s queues; want %s", card.name, card.queues, want.queues)
		}
		v.Exec("sh", "-c", fmt.Sprintf("ip link set %s up && ip addr add %s.2/24 dev %[1]s", card.name, want.net))
		for _, proto := range []string{"tcp", "udp"} {
			if got := v.Exec("/run/netpeer", "ask", proto, want.net+".1:3001", "hello"); !strings.HasPrefix(got, "hello at ") {
				t.Errorf("the guest's question by %s through %s is answered %q", proto, card.name, got)
			}
			if got := ns.run(peer + " ask " + proto + " " + want.net + ".2:7 hello"); !strings.HasPrefix(got, "hello at ") {
				t.Errorf("the guest's answer by %s through %s is %q", proto, card.name, got)
			}
		}
	}
	networksAreCounted(t, h, v)
	nameIsTaken(t, h, v, ns)

	ns.run("ip link set wire1 down")
	v.Await("macvtap vm-macvtap has no carrier")
	ns.run("ip link delete br0")
	v.Await("tap vm-bridge is not attached to bridge br0 any more")
	ns.run("ip link delete vm-tap")
	v.Await("tap vm-tap was removed by somebody else: the guest's network is over")
	// The guest is told, and nothing else of it is over.
	v.Exec("sh", "-c", "for i in $(seq 50); do grep 0 /sys/class/net/"+guest[0].name+"/carrier && exit 0; sleep 0.2; done; exit 1")

	qemu, err := unix.PidfdOpen(v.Status().QEMU, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qemu)
	v.Signal(syscall.SIGKILL)
	v.Wait()
	awaitExit(t, qemu) // its taps go with it
	leftoversGo(t, h, ns)
}

// TestRacingForADevice starts machines at once that all want the same devices: one
// gets them, and the others end without harm to it.
func TestRacingForADevice(t *testing.T) {
	h := newFakeHost(t)
	ns := namespace(t, "ip link add br0 type bridge", "ip link set br0 up", "ip link add wire0 type veth peer name wire1", "ip link set wire0 up")
	h.Namespace = ns.name
	const devices = `
[[interfaces]]
type = "macvtap"
id = "vm-second"
macvtap.link = "wire0"
[[interfaces]]
type = "tap"
id = "vm-first"
bridge = "br0"
`
	var machines []*test.VM
	for i := range 4 {
		machines = append(machines, h.start(t, fmt.Sprintf("racer%d", i), h.ready, devices))
	}
	winner := -1
	for i, v := range machines {
		if !v.Reaches(": ready after ") {
			if e := v.Wait(); e.Code == 0 || !strings.Contains(e.Stderr, "the name is taken by ") {
				// By a machine, or for a moment by a device without its mark.
				t.Errorf("racer%d = %d; want an error that the name is taken:\n%s", i, e.Code, e.Stderr)
			}
			continue
		}
		if winner >= 0 {
			t.Errorf("both racer%d and racer%d run", winner, i)
		}
		winner = i
	}
	if winner < 0 {
		t.Fatal("nobody got the devices")
	}
	if links := ns.run("ip -br link show master br0"); !strings.Contains(links, "vm-first") || !strings.Contains(ns.links(), "vm-second@wire0") {
		t.Errorf("the winner's devices are not as they were:\n%s", ns.links())
	}
	machines[winner].Stop()
	if links := ns.links(); strings.Contains(links, "vm-") {
		t.Errorf("devices at the end:\n%s", links)
	}
}

// A card is a network card as the guest sees it.
type card struct{ name, queues string }

// guestCards finds the definition's interfaces among the guest's, by the addresses
// that QEMU was told.
func guestCards(t *testing.T, h *test.Host, v *test.VM) []card {
	t.Helper()
	seen := make(map[string]card)
	for line := range strings.Lines(v.Exec("sh", "-c", "for i in /sys/class/net/eth*; do echo $(cat $i/address) ${i##*/} $(ls $i/queues | grep -c rx); done")) {
		if f := strings.Fields(line); len(f) == 3 {
			seen[f[0]] = card{f[1], f[2]}
		}
	}
	argv := h.Mvm("argv", h.Dir+"/cards.toml").Stdout
	var list []card
	for _, m := range regexp.MustCompile(`mac=([0-9a-f:]+)`).FindAllStringSubmatch(argv, -1) {
		c, ok := seen[m[1]]
		if !ok {
			t.Fatalf("the guest has no card %s, but %v", m[1], seen)
		}
		list = append(list, c)
	}
	if len(list) != 3 || seen["02:00:00:00:00:42"] != list[2] {
		t.Fatalf("the guest has %v; want three, the last with the address that was given", seen)
	}
	return list
}

// networksAreCounted: each card of the guest has seen packets both ways.
func networksAreCounted(t *testing.T, h *test.Host, v *test.VM) {
	t.Helper()
	client := control.NewClient(v.Name, h.Dirs().Machine(v.Name).Socket())
	u, err := client.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, n := range u.Networks {
		ids = append(ids, n.Interface)
		if n.ReceivedPackets < 4 || n.SentPackets < 4 || n.ReceivedBytes < 4*64 || n.SentBytes < 4*64 {
			t.Errorf("it is counted for %s: %+v; want some packets each way", n.Interface, n)
		}
	}
	if got := strings.Join(ids, " "); got != "vm-tap vm-macvtap vm-bridge" {
		t.Errorf("it is counted for %s; want all three", got)
	}
}

// nameIsTaken: another machine that wants a device of the same name does not get
// it, says who has it, and leaves the first as it is.
func nameIsTaken(t *testing.T, h *test.Host, v *test.VM, ns netns) {
	t.Helper()
	for _, lines := range []string{
		"[[interfaces]]\ntype = \"tap\"\nid = \"vm-tap\"\n",
		"[[interfaces]]\ntype = \"macvtap\"\nid = \"vm-macvtap\"\nmacvtap.link = \"wire0\"\n",
		"[[interfaces]]\ntype = \"tap\"\nid = \"vm-first\"\n[[interfaces]]\ntype = \"tap\"\nid = \"br0\"\n",
	} {
		e := h.Mvm("run", define(t, h, "other", lines))
		if e.Code == 0 || !strings.Contains(e.Stderr, "the name is taken by ") || !strings.Contains(e.Stderr, "mvm: hint: ") {
			t.Errorf("mvm run of a second machine with\n%s = %d; want an error that the name is taken, and a hint:\n%s", lines, e.Code, e.Stderr)
		}
	}
	v.Exec("/run/netpeer", "ask", "tcp", "10.79.0.1:3001", "still here")
	v.Exec("/run/netpeer", "ask", "tcp", "10.78.0.1:3001", "still here")
	if links := ns.links(); strings.Contains(links, "vm-first") {
		t.Errorf("a machine that did not start left vm-first:\n%s", links)
	}
}

// leftoversGo: a macvtap outlives a supervisor that is killed, but neither the next
// run of the machine, though it wants others, nor the next look.
func leftoversGo(t *testing.T, h *test.Host, ns netns) {
	t.Helper()
	if links := ns.links(); !strings.Contains(links, "vm-macvtap@") || strings.Contains(links, "vm-bridge") {
		t.Errorf("after mvm was killed there are these; want of its devices the macvtap alone:\n%s", links)
	}
	definition := define(t, h, "cards", strings.ReplaceAll(cards[:strings.LastIndex(cards, "[[")], "vm-macvtap", "vm-other"))
	next := h.Start(definition)
	next.Await("removed vm-macvtap, which a run that was killed left")
	next.Await("runs as process")
	qemu, err := unix.PidfdOpen(next.Status().QEMU, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qemu)
	next.Signal(syscall.SIGKILL)
	next.Wait()
	awaitExit(t, qemu)
	if ps := h.Mvm("ps"); !strings.Contains(ps.Stderr, "and what it left (vm-other) is removed") {
		t.Errorf("mvm ps after a crash says\n%s\nwant that vm-other is removed", ps.Stderr)
	}
	if links := ns.links(); strings.Contains(links, "vm-") {
		t.Errorf("devices at the end:\n%s", links)
	}
}
