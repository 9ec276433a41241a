package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/control"
)

// How long the service manager is to wait for the next word. A manager's own
// limits cannot know how big a store disk is or how slow a guest; mvm does, so
// what hangs is still found out.
const (
	buildPatience = 2 * time.Minute  // a builder reports a few times a second
	startPatience = 90 * time.Second // mkfs of a large volume on a busy disk
	forcePatience = 30 * time.Second // the ladder's last rungs take 12 s at most

	// tellEvery is how often progress extends the manager's patience.
	tellEvery = 5 * time.Second

	// managerLimit is how long a manager that does not read is waited for. It
	// must never keep a machine waiting.
	managerLimit = 200 * time.Millisecond
)

// A notifier tells the service manager about a machine's life, in the words of
// sd_notify(3). Without a manager that listens it does nothing.
type notifier struct {
	socket   string
	watchdog time.Duration // how often the manager wants a sign of life; 0 is never
	name     string
	ready    time.Duration // the machine's ready limit; 0 is none
	stop     time.Duration // and its stop limit

	mu   sync.Mutex
	told time.Time // when progress was passed on last
}

// newNotifier returns a notifier for the machine. The environment is that of
// sd_notify(3) and sd_watchdog_enabled(3).
func newNotifier(e env, c *vm.Config) *notifier {
	n := &notifier{
		socket: e.getenv("NOTIFY_SOCKET"), name: c.MachineName(),
		ready: c.ReadyLimit(), stop: c.StopLimit(),
	}
	if pid := e.getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	if usec, err := strconv.ParseInt(e.getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 && n.socket != "" {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// attach makes the notifier hear what vm.Run has to say, beside whoever does
// already.
func (n *notifier) attach(o *vm.Options) {
	if n.socket == "" {
		return
	}
	event, progress := o.Event, o.Progress
	o.Event = func(ev control.Event) {
		if event != nil {
			event(ev)
		}
		n.event(ev)
	}
	o.Progress = func(d storedisk.Progress) {
		if progress != nil {
			progress(d)
		}
		n.progress(d, time.Now())
	}
	o.Asked = func() { n.send("STOPPING=1", n.extend(n.stop+forcePatience)) }
	if n.watchdog > 0 {
		// A question and its limit are a quarter each: a QEMU that falls silent
		// is named in the log by half the time, well before the manager acts.
		o.PulseEvery, o.Pulse = n.watchdog/4, func() { n.send("WATCHDOG=1") }
	}
}

// event passes an event on.
func (n *notifier) event(ev control.Event) {
	status := "STATUS=" + strings.ReplaceAll(ev.Message, "\n", "; ")
	switch ev.State {
	case control.Building:
		n.send(status, n.extend(buildPatience))
	case control.Starting:
		// There is no QEMU to ask, so the supervisor's own life must do.
		n.send(status, n.extend(startPatience), "WATCHDOG=1")
	case control.Booting:
		n.send(status, n.extend(n.booting()), "WATCHDOG=1")
	case control.Ready:
		n.send("READY=1", status)
	case control.Stopping:
		// Not STOPPING=1: the machine may be about to be started again.
		n.send(status, n.extend(n.stop+forcePatience))
	case control.Exited:
		n.send("STOPPING=1", status)
	}
}

// booting is how long a boot may take: what the definition says, or about a day
// for one that may take for ever.
func (n *notifier) booting() time.Duration {
	if n.ready == 0 {
		return 24 * time.Hour
	}
	return n.ready + forcePatience
}

// progress is for a store disk in the making.
func (n *notifier) progress(d storedisk.Progress, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.told) < tellEvery {
		return
	}
	n.told = now
	n.send("STATUS=store disk: "+d.Stage, n.extend(buildPatience))
}

func (n *notifier) extend(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// send says all at once. That nobody hears it harms nobody.
func (n *notifier) send(lines ...string) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(managerLimit))
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}
