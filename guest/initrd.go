package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/agent"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// Serve does mvm's part in an initrd of the guest's own, as a service that
// systemd starts there: it loads the modules that the plan needs, lays out
// /run/mvm, and leaves an agent behind that stays when the initrd goes. What is
// mounted is systemd's business, by the units that came with this program.
//
// It returns when units that wait for it may go on.
func (g *Guest) Serve() error {
	g.mark("init")
	orders, err := readOrders(handoff.BootPath)
	if err != nil {
		return err
	}
	if err := g.callHost(orders); err != nil {
		return err
	}
	if err := layOutRun(orders); err != nil {
		return err
	}
	// The agent inherits the place.
	if err := joinInit("/proc/1/cgroup", "/sys/fs/cgroup"); err != nil {
		return err
	}
	if g.agent, err = startAgent(g.port); err != nil {
		return err
	}
	if err := writeFile(handoff.AgentPIDPath, strconv.AppendInt(nil, int64(g.agent.pid), 10)); err != nil {
		return err
	}
	heir := g.inheritance(orders)
	heir.Initrd, heir.Plan = true, orders.Plan
	return wrap("tell the agent", g.agent.send(heir))
}

// Emergency tells the agent that the initrd does not get further. It is for the
// service that systemd starts beside its emergency shell.
func Emergency() error {
	op := "read " + handoff.AgentPIDPath
	b, err := os.ReadFile(handoff.AgentPIDPath)
	if err != nil {
		return failure(op, err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		return failure(op, err)
	}
	return wrap("call the agent", unix.Kill(pid, agent.EmergencySignal))
}

// joinInit moves this process into process 1's control group, where systemd
// also puts what it finds running when it starts. Processes in the group of a
// service are killed with the service, and no service outlives the initrd.
func joinInit(proc, root string) error {
	const op = "join process 1's control group"
	b, err := os.ReadFile(proc)
	if err != nil {
		return failure(op, err)
	}
	for line := range strings.Lines(string(b)) {
		// "ID:CONTROLLERS:PATH" (cgroups(7)). systemd tracks processes in
		// version 2's hierarchy, or in one of its own.
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		for _, hierarchy := range []string{"", "unified", "systemd"} {
			procs := filepath.Join(root, hierarchy, f[2], "cgroup.procs")
			f, err := os.OpenFile(procs, os.O_WRONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return failure(op, err)
			}
			_, err = f.WriteString("0") // that is: whoever writes
			f.Close()
			return wrap(op, err)
		}
	}
	return &Failure{Op: op, Err: fmt.Errorf("it is not below %s", root)}
}
