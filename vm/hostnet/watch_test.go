package hostnet

import (
	"testing"
	"time"
)

// TestWatchSaysWhatCutsAGuestOff does to a machine's devices what administrators do
// by mistake, and undoes it.
func TestWatchSaysWhatCutsAGuestOff(t *testing.T) {
	inNamespace(t)
	for _, args := range [][]string{
		{"link", "add", "br0", "type", "bridge"}, {"link", "set", "br0", "up"},
		{"link", "add", "eth7", "type", "veth", "peer", "name", "wire"}, {"link", "set", "eth7", "up"}, {"link", "set", "wire", "up"},
	} {
		ip(t, args...)
	}
	tap := up(t, Spec{Name: "vm0", Bridge: "br0", MAC: mac})
	macvtap := up(t, Spec{Kind: Macvtap, Name: "vm1", Link: "eth7", MAC: mac})
	said := make(chan string, 100) // more than is said
	stop, err := Watch([]*Device{tap, macvtap}, func(i Incident) { said <- i.Text })
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	for _, tt := range []struct {
		do   []string
		want []string
	}{
		{[]string{"link", "set", "vm0", "down"}, []string{"tap vm0 was brought down"}},
		{[]string{"link", "set", "vm0", "up"}, []string{"tap vm0 is up again"}},
		{[]string{"link", "set", "vm0", "mtu", "1400"}, nil},
		{[]string{"link", "set", "vm0", "nomaster"}, []string{"tap vm0 is not attached to bridge br0 any more"}},
		{[]string{"link", "set", "vm0", "master", "br0"}, []string{"tap vm0 is attached to bridge br0 again"}},
		{[]string{"link", "set", "wire", "down"}, []string{"macvtap vm1 has no carrier"}},
		{[]string{"link", "set", "wire", "up"}, []string{"macvtap vm1 has a carrier again"}},
		{[]string{"link", "delete", "br0"}, []string{"tap vm0 is not attached to bridge br0 any more"}},
		{[]string{"link", "delete", "eth7"}, []string{"macvtap vm1 was brought down", "macvtap vm1 was removed by somebody else: the guest's network is over"}},
	} {
		ip(t, tt.do...)
		for _, want := range tt.want { // of none, what comes next must be the next one's
			select {
			case got := <-said:
				if got != want {
					t.Errorf("after ip %q it is said: %s; want %s", tt.do, got, want)
				}
			case <-time.After(limit):
				t.Fatalf("after ip %q nothing is said; want %s", tt.do, want)
			}
		}
	}
	if _, err := macvtap.Counters(); err == nil {
		t.Error("Counters() of a device that is gone = nil; want an error")
	}
	stop()
	stopped = true
	if err := tap.Down(); err != nil {
		t.Error(err)
	}
	if len(said) > 0 {
		t.Errorf("after the end it is said: %s", <-said)
	}
}

// TestCountersAreTheGuests sends from one guest to another, and asks for both.
func TestCountersAreTheGuests(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "add", "br0", "type", "bridge")
	ip(t, "link", "set", "wire", "master", "br0")
	for _, name := range []string{"eth7", "wire", "br0"} {
		ip(t, "link", "set", name, "up")
	}
	a := up(t, Spec{Kind: Macvtap, Name: "vm0", Link: "eth7", MAC: mac})
	b := up(t, Spec{Name: "vm1", Bridge: "br0"})
	frame := hello(mac, "hello")
	deliver(t, frame, files(t, a)[0], files(t, b)[0])
	sent, err := a.Counters()
	if err != nil {
		t.Fatal(err)
	}
	received, err := b.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if sent.SentPackets < 1 || sent.SentBytes < uint64(len(frame)) {
		t.Errorf("the sender's Counters() = %+v; want a frame of %d bytes sent", sent, len(frame))
	}
	if received.ReceivedPackets < 1 || received.ReceivedBytes < uint64(len(frame)) || received.SentBytes != 0 {
		t.Errorf("the receiver's Counters() = %+v; want a frame of %d bytes received, and none sent", received, len(frame))
	}
}
