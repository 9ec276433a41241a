package guest

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/agent"
	"github.com/mvmrun/mvm/guest/kmsg"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// Limits of giving up. The host has long limits of its own; these only keep a
// guest whose host does not listen from standing there for ever.
const (
	tellLimit = 5 * time.Second
	lookLimit = time.Second // for a port, if it was too early to have one
)

// GiveUp says why the guest does not boot, on the console and to the host, and
// powers the guest off. It never returns: process 1 may not.
func (g *Guest) GiveUp(err error) {
	m := message(err)
	kmsg.Print(kmsg.Critical, "cannot boot, powering off: %s: %s", m.Op, m.Err)
	if m.Detail != "" {
		kmsg.Print(kmsg.Critical, "%s", m.Detail)
	}
	told := make(chan error, 1) // buffered: nobody listens after the limit
	go func() { told <- g.tell(m) }()
	select {
	case err := <-told:
		if err != nil {
			kmsg.Print(kmsg.Critical, "tell the host: %v", err)
		}
	case <-time.After(tellLimit):
		kmsg.Print(kmsg.Critical, "the host does not listen")
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// A machine without a way to power off halts, and the host sees that no
	// better; with the frame above it knows.
	for {
		time.Sleep(time.Hour)
	}
}

// tell sends the failure to the host, by way of the agent once that has the
// port, and returns when it is out of the guest.
func (g *Guest) tell(m handoff.Failed) error {
	if g.agent != nil {
		if err := g.agent.send(agent.Inheritance{Hello: g.hello, Failed: &m}); err != nil {
			return err
		}
		g.agent.pipe.Close()
		// The agent ends when it has told the host.
		return retry(func() error {
			_, err := unix.Wait4(g.agent.pid, nil, 0, nil)
			return err
		})
	}
	if g.port <= 0 {
		if g.events.fd <= 0 {
			return errors.New("no device can be waited for yet")
		}
		var err error
		if g.port, err = openPort(g.events, lookLimit); err != nil {
			return err
		}
	}
	return agent.SendFailed(g.port, g.hello, m)
}
