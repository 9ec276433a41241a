package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/state"
)

var mac = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x2a}

// up makes a device that is taken down with the test.
func up(t *testing.T, s Spec) *Device {
	t.Helper()
	if s.Machine == "" {
		s.Machine = "web"
	}
	d, err := Up(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Down(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// files opens a device for a QEMU that does not exist.
func files(t *testing.T, d *Device) []*os.File {
	t.Helper()
	queues, _, err := d.Files()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(queues) })
	return queues
}

func TestTapIsAsQEMUWantsIt(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "br0", "address", "aa:00:00:00:00:01", "type", "bridge")
	before := openFiles(t)
	tests := []struct {
		spec Spec
		want func(*shown)
	}{
		{Spec{}, func(*shown) {}},
		{Spec{Queues: 3}, func(s *shown) { s.Info.Data.MultiQueue, s.Info.Data.NumQueues = true, 3 }},
		{Spec{Owner: 1234, Group: 5678}, func(s *shown) { s.Info.Data.User, s.Info.Data.Group = 1234.0, 5678.0 }},
		{Spec{Bridge: "br0", MAC: mac}, func(s *shown) { s.Master, s.Address = "br0", "fe:00:00:00:00:2a" }},
		{Spec{Bridge: "br0", MAC: net.HardwareAddr{0xfe, 1, 2, 3, 4, 5}}, func(s *shown) { s.Master, s.Address = "br0", "fa:01:02:03:04:05" }},
	}
	for _, tt := range tests {
		tt.spec.Name, tt.spec.Machine = "vm0", "web"
		d, err := Up(t.Context(), tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		got := show(t)["vm0"]
		want := got
		want.Master, want.Info.Kind = "", "tun"
		want.Info.Data.Type, want.Info.Data.PI, want.Info.Data.VNetHdr, want.Info.Data.Persist = "tap", false, true, false
		want.Info.Data.MultiQueue, want.Info.Data.NumQueues = false, 0
		want.Info.Data.User, want.Info.Data.Group = "root", "root"
		tt.want(&want)
		if got.Info != want.Info || got.Master != want.Master || got.Address != want.Address {
			t.Errorf("Up(%+v) makes %+v; want %+v", tt.spec, got, want)
		}
		if !slices.Contains(got.Flags, "UP") || !slices.Contains(got.Flags, "LOWER_UP") {
			t.Errorf("Up(%+v) makes a device with %v; want it up", tt.spec, got.Flags)
		}
		if o, ok := parseAlias(got.Alias); !ok || o.machine != "web" || o.process.PID != os.Getpid() || o.dead() {
			t.Errorf("its alias %q is %+v; want this process's, for web", got.Alias, o)
		}
		if q, vhost, err := d.Files(); err != nil || len(q) != tt.spec.queues() || len(vhost) != 0 {
			t.Errorf("Files() = %d, %d, %v; want %d queues", len(q), len(vhost), err, tt.spec.queues())
		} else {
			closeAll(q)
		}
		if err := d.Down(); err != nil {
			t.Error(err)
		}
		if err := d.Down(); err != nil {
			t.Errorf("a second Down() = %v", err)
		}
		if left := show(t); len(left) != 1 {
			t.Errorf("Down leaves %v", left)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open; want %d as before", after, before)
	}
}

// vnetHdr is virtio's header of a frame that has nothing special about it.
const vnetHdr = 10

// limit is a deadline against hanging, not a claim.
const limit = time.Minute

// deliver writes a frame to one card, as its guest would, until it arrives at
// one of the queues of another: a bridge drops frames until it has noticed that
// its ports have a carrier. It returns the first queue that has it.
func deliver(t *testing.T, frame []byte, from *os.File, to ...*os.File) int {
	t.Helper()
	var fds []unix.PollFd
	for _, f := range to {
		fds = append(fds, unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN})
	}
	b := make([]byte, 2048)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if _, err := from.Write(append(make([]byte, vnetHdr), frame...)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := unix.Poll(fds, 100)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			for i := range fds {
				if fds[i].Revents&unix.POLLIN == 0 {
					continue
				}
				// A host's own stack may send some frames, too.
				if n, err := to[i].Read(b); err != nil {
					t.Fatal(err)
				} else if n >= vnetHdr && bytes.Equal(b[vnetHdr:n], frame) {
					return i
				}
			}
		}
	}
	t.Fatalf("the frame %q does not arrive", frame)
	return 0
}

// hello is a frame to everybody.
func hello(from net.HardwareAddr, text string) []byte {
	frame := append(bytes.Repeat([]byte{0xff}, 6), from...)
	frame = append(frame, 0x88, 0xb5) // IEEE's local experimental Ethertype
	return append(frame, text+strings.Repeat(".", 60)...)
}

func TestTwoGuestsReachEachOtherThroughABridge(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "br0", "address", "aa:00:00:00:00:01", "type", "bridge")
	ip(t, "link", "set", "br0", "up")
	a := up(t, Spec{Name: "vm0", Bridge: "br0", MAC: mac})
	b := up(t, Spec{Name: "vm1", Bridge: "br0", Queues: 2})
	guestA := files(t, a)[0]

	guestB := files(t, b)
	// The kernel chooses among the queues.
	i := deliver(t, hello(mac, "hello"), guestA, guestB...)
	deliver(t, hello(net.HardwareAddr{2, 0, 0, 0, 0, 0x2b}, "hello yourself"), guestB[1-i], guestA)
}

func TestTapServesOneQEMUAfterTheOther(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "br0", "type", "bridge")
	ip(t, "link", "set", "br0", "up")
	a, b := up(t, Spec{Name: "vm0", Bridge: "br0"}), up(t, Spec{Name: "vm1", Bridge: "br0"})
	other := files(t, b)[0]
	index := show(t)["vm0"].Index
	for i := range 3 {
		q, _, err := a.Files()
		if err != nil {
			t.Fatal(err)
		}
		deliver(t, hello(mac, fmt.Sprintf("run %d", i)), q[0], other)
		closeAll(q) // as QEMU's end does
		if got := show(t)["vm0"]; got.Index != index || got.Master != "br0" {
			t.Errorf("after a QEMU's end vm0 is %+v; want device %d on br0", got, index)
		}
	}
}

func TestMacvtapIsAsQEMUWantsIt(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "set", "eth7", "up")
	ip(t, "link", "set", "wire", "up")
	before := openFiles(t)
	for _, mode := range []string{"", "private", "vepa", "bridge", "source", "passthru"} {
		for _, queues := range []int{1, 2} {
			d, err := Up(t.Context(), Spec{Kind: Macvtap, Name: "vm0", Machine: "web", Link: "eth7", Mode: mode, MAC: mac, Queues: queues})
			if err != nil {
				t.Fatal(err)
			}
			got := show(t)["vm0"]
			want, address := mode, mac.String()
			switch mode {
			case "":
				want = "bridge"
			case "passthru":
				address = show(t)["eth7"].Address
			}
			if got.Info.Kind != "macvtap" || got.Info.Data.Mode != want || got.Link != "eth7" || got.Address != address {
				t.Errorf("Up() makes %+v; want a macvtap on eth7, mode %s, with %v", got, want, address)
			}
			if !slices.Contains(got.Flags, "UP") || !slices.Contains(got.Flags, "ALLMULTI") {
				t.Errorf("Up() makes a device with %v; want it up, with all groups", got.Flags)
			}
			if addrs := ip(t, "-6", "addr", "show", "dev", "vm0"); strings.Contains(addrs, "inet6") {
				t.Errorf("the host has claimed an address on it: %s", addrs)
			}
			if q := files(t, d); len(q) != queues {
				t.Errorf("%d queues; want %d", len(q), queues)
			} else {
				closeAll(q)
			}
			if err := d.Down(); err != nil {
				t.Error(err)
			}
			if left := show(t); len(left) != 2 {
				t.Errorf("Down leaves %v", left)
			}
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open; want %d as before", after, before)
	}
}

func TestMacvtapReachesTheWire(t *testing.T) {
	inNamespace(t)
	// At the wire's other end is a bridge with another guest's tap.
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "add", "br0", "type", "bridge")
	ip(t, "link", "set", "wire", "master", "br0")
	for _, name := range []string{"eth7", "wire", "br0"} {
		ip(t, "link", "set", name, "up")
	}
	a := files(t, up(t, Spec{Kind: Macvtap, Name: "vm0", Link: "eth7", MAC: mac}))[0]
	b := files(t, up(t, Spec{Name: "vm1", Bridge: "br0"}))[0]
	deliver(t, hello(mac, "from the macvtap"), a, b)
	reply := hello(net.HardwareAddr{2, 0, 0, 0, 0, 0x2b}, "to the macvtap")
	copy(reply, mac)
	deliver(t, reply, b, a)
}

// orphan gives a device the alias of a process that is no more.
func orphan(t *testing.T, name, machine string) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o, err := self(machine)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	o.process = state.Identity{PID: cmd.Process.Pid, StartTime: o.process.StartTime, BootID: o.process.BootID}
	ip(t, "link", "set", name, "alias", o.alias())
}

func TestLeftoversAreReclaimed(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "set", "eth7", "up")
	leave := map[string]func(){
		"a macvtap": func() { ip(t, "link", "add", "link", "eth7", "name", "vm0", "type", "macvtap") },
		"a tap":     func() { ip(t, "tuntap", "add", "vm0", "mode", "tap") },
	}
	for name, leftover := range leave {
		for _, s := range []Spec{
			{Name: "vm0"},
			{Kind: Macvtap, Name: "vm0", Link: "eth7", MAC: mac},
		} {
			leftover()
			orphan(t, "vm0", "another")
			old := show(t)["vm0"].Index
			s.Machine = "web"
			d, err := Up(t.Context(), s)
			if err != nil {
				t.Errorf("Up(%v) after %s was left = %v", &s, name, err)
				ip(t, "link", "delete", "vm0")
				continue
			}
			if got := show(t)["vm0"]; got.Index == old {
				t.Errorf("Up(%v) uses %s that was left", &s, name)
			}
			if err := d.Down(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSweepRemovesOnlyDeadMachinesDevices(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	up(t, Spec{Name: "alive"})
	for _, name := range []string{"web1", "web2", "db1", "stranger", "liar"} {
		ip(t, "link", "add", "link", "eth7", "name", name, "type", "macvtap")
	}
	orphan(t, "web1", "web")
	orphan(t, "web2", "web")
	orphan(t, "db1", "db")
	ip(t, "link", "set", "liar", "alias", "mvm:web:1:nonsense")
	if got, err := Sweep("web"); err != nil || !slices.Equal(got, []string{"web1", "web2"}) {
		t.Errorf("Sweep(web) = %v, %v; want web1, web2", got, err)
	}
	if got, err := Sweep(""); err != nil || !slices.Equal(got, []string{"db1"}) {
		t.Errorf("Sweep() = %v, %v; want db1", got, err)
	}
	if got, err := Sweep(""); err != nil || got != nil {
		t.Errorf("Sweep() = %v, %v; want nothing", got, err)
	}
	for _, name := range []string{"alive", "stranger", "liar", "eth7", "wire"} {
		if _, ok := show(t)[name]; !ok {
			t.Errorf("%s is gone", name)
		}
	}
}

func TestUpSaysWhatIsWrong(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "br0", "type", "bridge")
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "set", "wire", "master", "br0")
	ip(t, "link", "set", "eth7", "up")
	ip(t, "tuntap", "add", "theirs", "mode", "tap")
	up(t, Spec{Name: "mine"})
	up(t, Spec{Kind: Macvtap, Name: "same", Link: "eth7", MAC: mac})
	o, err := self("far")
	if err != nil {
		t.Fatal(err)
	}
	o.process.PID, o.pidSpace = 4194303, "pid:[1]"
	ip(t, "link", "add", "far", "type", "bridge")
	ip(t, "link", "set", "far", "alias", o.alias())
	tests := []struct {
		spec Spec
		is   error
		want string
		hint string
	}{
		{Spec{Name: "theirs"}, ErrTaken, "make tap theirs: the name is taken by a device that is not mvm's, of type tuntap", "give the interface another id"},
		{Spec{Name: "br0"}, ErrTaken, "make tap br0: the name is taken by a device that is not mvm's, of type bridge", "give the interface another id"},
		{Spec{Kind: Macvtap, Name: "theirs", Link: "eth7", MAC: mac}, ErrTaken,
			"make macvtap theirs: the name is taken by a device that is not mvm's, of type tuntap", "give the interface another id"},
		{Spec{Name: "mine"}, ErrTaken, fmt.Sprintf("make tap mine: the name is taken by machine web (process %d)", os.Getpid()), "stop that machine"},
		{Spec{Name: "far"}, ErrTaken, "make tap far: the name is taken by machine far (process 4194303)", "stop that machine"},
		{Spec{Name: "vm0", Bridge: "nonesuch"}, fs.ErrNotExist, "attach tap vm0 to bridge nonesuch: no such device: file does not exist", "make it: ip link add nonesuch type bridge"},
		{Spec{Name: "vm0", Bridge: "wire"}, nil, "attach tap vm0 to bridge wire: it is of type veth", "name a bridge"},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "nonesuch", MAC: mac}, fs.ErrNotExist,
			"make macvtap vm0 on nonesuch: no such device: file does not exist", "name one of this host's cards"},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "eth7", MAC: mac}, unix.EADDRINUSE, "bring up macvtap vm0: address already in use", "give the interface a mac of its own"},
		{Spec{Kind: Macvtap, Name: "vm0", Link: "wire", MAC: mac}, unix.EBUSY, "make macvtap vm0 on wire: device or resource busy", "choose another link"},
		{Spec{Name: "vm0", VHost: true}, fs.ErrNotExist, "open /dev/vhost-net: no such file or directory", "load the vhost_net module"},
	}
	before := openFiles(t)
	for _, tt := range tests {
		tt.spec.Machine = "web"
		_, statErr := os.Stat("/dev/vhost-net")
		if tt.spec.VHost && statErr == nil {
			continue // this host has it
		}
		d, err := Up(t.Context(), tt.spec)
		if err == nil {
			d.Down()
		}
		he := (*HostError)(nil)
		if !errors.As(err, &he) || err.Error() != tt.want || !strings.HasPrefix(he.Hint, tt.hint) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("Up(%+v) = %v, %+v; want %s, with the hint %s…", tt.spec, err, he, tt.want, tt.hint)
		}
		if _, ok := show(t)["vm0"]; ok {
			t.Errorf("Up(%+v) has left the device", tt.spec)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open; want %d as before", after, before)
	}
}

func TestOneOfManyGetsTheName(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "set", "eth7", "up")
	space, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	for _, s := range []Spec{{Name: "vm0"}, {Kind: Macvtap, Name: "vm0", Link: "eth7", MAC: mac}} {
		for round := range 5 {
			// A leftover makes it harder: all want to remove it.
			ip(t, "link", "add", "link", "eth7", "name", "vm0", "type", "macvtap")
			orphan(t, "vm0", "web")
			const n = 8
			var wg sync.WaitGroup
			devices, errs := make([]*Device, n), make([]error, n)
			for i := range n {
				wg.Go(func() {
					inSpace(t, space)
					s := s
					s.Machine = fmt.Sprintf("m%d", i)
					devices[i], errs[i] = Up(t.Context(), s)
				})
			}
			wg.Wait()
			winners := 0
			for i, err := range errs {
				switch {
				case err == nil:
					winners++
					if o, _ := parseAlias(show(t)["vm0"].Alias); o.machine != fmt.Sprintf("m%d", i) {
						t.Errorf("m%d has %v's device", i, o)
					}
					if err := devices[i].Down(); err != nil {
						t.Error(err)
					}
				case !errors.Is(err, ErrTaken):
					t.Errorf("round %d: Up(%v) = %v; want a device or ErrTaken", round, &s, err)
				}
			}
			if winners != 1 {
				t.Errorf("round %d: %d machines got %v; want one", round, winners, &s)
			}
		}
	}
}

// A tap goes with the last process that has it open, which needs no mvm.
func TestTapGoesWithItsFiles(t *testing.T) {
	inNamespace(t)
	d, err := Up(t.Context(), Spec{Name: "vm0", Machine: "web"})
	if err != nil {
		t.Fatal(err)
	}
	qemu := files(t, d)
	closeAll(d.queues) // as this process's end does
	if _, ok := show(t)["vm0"]; !ok {
		t.Fatal("the tap went while QEMU had it open")
	}
	closeAll(qemu)
	if _, ok := show(t)["vm0"]; ok {
		t.Error("the tap is still there")
	}
	if err := d.Down(); err != nil {
		t.Errorf("Down() of a device that is gone = %v", err)
	}
}

func TestUpEndsWithItsContext(t *testing.T) {
	inNamespace(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := Up(ctx, Spec{Name: "vm0", Machine: "web"}); err == nil || err.Error() != "enough" {
		t.Errorf("Up() = %v; want enough", err)
	}
}
