package hostnet

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A condition is what a device needs to be of use to a guest.
type condition struct {
	gone    bool
	up      bool // as the administrator wants it
	carrier bool
	master  int // the index of the bridge that it is attached to, or 0
}

// An Incident is something that befalls a device and cuts off its guest, or the
// end of that.
type Incident struct {
	Device *Device
	Text   string // "tap vm0 is not attached to bridge br0 any more"

	// Gone says that there is no such device any more. QEMU should let go of
	// it: reading it fails at once, again and again.
	Gone bool
}

// Watch calls f for every incident. The calls come from one goroutine, which has
// ended when stop returns. Changes that come faster than they are read may be
// lost.
func Watch(devices []*Device, f func(Incident)) (stop func(), err error) {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{}); err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	w := &watch{f: f, devices: make(map[int]*Device), known: make(map[int]condition)}
	for _, d := range devices {
		w.devices[d.number] = d
		w.known[d.number] = condition{up: true, carrier: true, master: d.master}
	}
	for _, d := range devices { // what came before the subscription
		if l, err := netlink.LinkByIndex(d.number); err == nil {
			w.see(d.number, conditionOf(l))
		}
	}
	ended := make(chan struct{})
	go func() { // ends when the subscription does, after stop at the latest
		defer close(ended)
		for u := range updates {
			w.update(u)
		}
	}()
	return func() {
		close(done)
		<-ended
	}, nil
}

type watch struct {
	f       func(Incident)
	devices map[int]*Device
	known   map[int]condition
}

func (w *watch) update(u netlink.LinkUpdate) {
	number := int(u.Index)
	d := w.devices[number]
	switch {
	case d == nil:
	case u.Header.Type == unix.RTM_DELLINK && u.Family != unix.AF_BRIDGE: // of that family is a port's end
		w.see(number, condition{gone: true})
	case u.Header.Type == unix.RTM_NEWLINK:
		w.see(number, conditionOf(u.Link))
	}
}

func conditionOf(l netlink.Link) condition {
	a := l.Attrs()
	return condition{up: a.Flags&net.FlagUp != 0, carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, master: a.MasterIndex}
}

// see says what is different now.
func (w *watch) see(number int, now condition) {
	d, before := w.devices[number], w.known[number]
	w.known[number] = now
	say := func(format string, args ...any) {
		w.f(Incident{Device: d, Text: fmt.Sprintf("%v ", &d.spec) + fmt.Sprintf(format, args...), Gone: now.gone})
	}
	if now.gone {
		if !before.gone {
			say("was removed by somebody else: the guest's network is over")
		}
		return
	}
	switch {
	case before.up && !now.up:
		say("was brought down")
	case !before.up && now.up:
		say("is up again")
	case before.carrier && !now.carrier && now.up:
		say("has no carrier")
	case !before.carrier && now.carrier:
		say("has a carrier again")
	}
	switch {
	case d.spec.Bridge == "" || before.master == now.master:
	case now.master == 0:
		say("is not attached to bridge %s any more", d.spec.Bridge)
	case now.master == d.master:
		say("is attached to bridge %s again", d.spec.Bridge)
	default:
		say("is attached to another bridge than %s", d.spec.Bridge)
	}
}
