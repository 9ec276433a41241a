package guest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/agent"
	"github.com/mvmrun/mvm/guest/growfs"
	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// A Guest is a guest on its way from the kernel to init. The zero value is one
// that the kernel has just started; it belongs to process 1 and its main
// thread.
type Guest struct {
	events  uevents
	port    int // the agent's port, or 0: that is standard input's number
	hello   bool
	agent   *agentLink
	timings map[string]int64
	notes   []string
}

// Boot brings the guest up and executes its init. It returns only if that did
// not work, and then what it mounted is still there; see [Guest.GiveUp].
func (g *Guest) Boot() error {
	g.mark("init")
	if err := mountBase(); err != nil {
		return err
	}
	orders, err := readOrders(handoff.BootPath)
	if err != nil {
		return err
	}
	if err := g.callHost(orders); err != nil {
		return err
	}
	if err := g.mountPlan(orders.Plan, deviceLimit(orders)); err != nil {
		return err
	}
	g.mark("mounts")
	if err := layOutRun(orders); err != nil {
		return err
	}
	g.events.close()
	if err := switchRoot(newRoot); err != nil {
		return err
	}
	if g.agent, err = startAgent(g.port); err != nil {
		return err
	}
	return g.become(orders)
}

// callHost makes the guest's devices work, and calls the host by the first of
// them that can.
func (g *Guest) callHost(orders handoff.Boot) (err error) {
	if g.events, err = openUevents(); err != nil {
		return &Failure{Op: "boot", Err: err}
	}
	if orders.Hostname != "" {
		if err := unix.Sethostname([]byte(orders.Hostname)); err != nil {
			return &Failure{Op: fmt.Sprintf("set the host name %q", orders.Hostname), Err: err}
		}
	}
	if err := loadModules(handoff.ModulesDir, orders.Modules); err != nil {
		return err
	}
	g.mark("modules")
	if g.port, err = openPort(g.events, deviceLimit(orders)); err != nil {
		return err
	}
	g.hello = sayHello(g.port)
	return nil
}

// deviceLimit is how long to wait for a device.
func deviceLimit(orders handoff.Boot) time.Duration {
	if orders.DeviceTimeout > 0 {
		return time.Duration(orders.DeviceTimeout) * time.Millisecond
	}
	return handoff.DefaultDeviceTimeout
}

// inheritance is what the agent is to know of the way here.
func (g *Guest) inheritance(orders handoff.Boot) agent.Inheritance {
	return agent.Inheritance{Hello: g.hello, Timings: g.timings, Notes: g.notes, System: path.Dir(orders.Init[0])}
}

// mark notes when a step was done, on the clock that started with the kernel.
func (g *Guest) mark(step string) {
	if g.timings == nil {
		g.timings = make(map[string]int64)
	}
	g.timings[step] = Uptime().Milliseconds()
}

// Uptime is how long ago the kernel started, or 0 if there is no such clock.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// readOrders reads what the host wants.
func readOrders(file string) (handoff.Boot, error) {
	op := "read " + file
	f, err := os.Open(file)
	if err != nil {
		return handoff.Boot{}, failure(op, err)
	}
	defer f.Close()
	orders, err := handoff.DecodeBoot(f)
	if err == nil && (len(orders.Plan.Mounts) == 0 || orders.Plan.Mounts[0].Where != "/") {
		err = errors.New("the plan does not begin with /")
	}
	return orders, wrap(op, err)
}

// mountPlan mounts the plan under the new root and checks that it is there.
// The root itself is mounted from outside, everything else from inside it.
func (g *Guest) mountPlan(plan mounts.Plan, limit time.Duration) error {
	find := func(m mounts.Mount) (source, error) {
		if m.Disk == nil {
			return source{path: m.What}, nil
		}
		d, err := disks{sys: "/sys/class/block", dev: "/dev"}.wait(m.Disk, g.events, limit)
		if err != nil {
			return source{}, err
		}
		return source{path: d.path, readOnly: d.readOnly}, nil
	}
	root := plan.Mounts[0]
	from, err := find(root)
	if err != nil {
		return err
	}
	if err := mount(root, from, newRoot); err != nil {
		return err
	}
	if err := shareBase(newRoot); err != nil {
		return err
	}
	return inside(newRoot, func() error {
		for _, m := range plan.Mounts[1:] {
			from, err := find(m)
			if err != nil {
				return err
			}
			if err := mount(m, from, m.Where); err != nil {
				return err
			}
		}
		list, err := readMountInfo()
		if err != nil {
			return failure("verify the mounts", err)
		}
		if err := verify(plan, list); err != nil {
			return err
		}
		g.notes = growfs.All(plan, list)
		return nil
	})
}

// readMountInfo reads the calling thread's view, which after a chroot of that
// thread is not the process's.
func readMountInfo() ([]mounts.MountInfo, error) {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mounts.ParseMountInfo(string(b))
}

// verify compares what is mounted with the plan, as the host will: what is wrong
// is to be known before init runs.
func verify(plan mounts.Plan, list []mounts.MountInfo) error {
	differ := plan.Compare(list)
	if len(differ) == 0 {
		return nil
	}
	lines := []string{"what is mounted:"}
	for _, m := range list {
		lines = append(lines, "  "+m.String())
	}
	return &Failure{
		Op:     "verify " + differ[0].Where,
		Err:    fmt.Errorf("it %s: planned is %s", differ[0].Text, differ[0].Want),
		Detail: strings.Join(lines, "\n"),
	}
}

// layOutRun makes the directory of the running agent, puts the closure's
// registration there, and tells a systemd that may become init which mounts to
// leave alone.
func layOutRun(orders handoff.Boot) error {
	if err := mkdirAll(handoff.RunDir, 0o755); err != nil {
		return err
	}
	for _, u := range orders.Plan.ShutdownUnits() {
		if err := writeFile(path.Join(handoff.UnitDir, u.Name), []byte(u.Text)); err != nil {
			return err
		}
	}
	if orders.Registration == "" {
		return nil
	}
	b, err := os.ReadFile(orders.Registration)
	if err != nil {
		return failure("read "+orders.Registration, err)
	}
	return writeFile(handoff.RegistrationPath, b)
}

// writeFile makes a file that anybody may read, in a directory that may not be
// there yet.
func writeFile(file string, content []byte) error {
	if err := mkdirAll(path.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return failure("write "+file, err)
	}
	return nil
}
