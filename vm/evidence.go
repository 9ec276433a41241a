package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/sidecar"
)

// collect adds to the facts what is looked at only when the machine has ended.
func (f *facts) collect(p *qemu.Process, running []*sidecar.Helper, before, after oomKills) {
	f.events = eventText(p.Ending().Last)
	f.helpers = helperText(running)
	f.memory = before.since(after)
	if end, ok := errors.AsType[*qemu.ExitError](f.qemuErr); ok {
		f.starved = end.Signal == syscall.SIGKILL && f.memory != ""
	}
}

// eventText is QEMU's events, one a line.
func eventText(events []qemu.Event) string {
	var b strings.Builder
	for _, e := range events {
		at := "-"
		if !e.Time.IsZero() {
			at = e.Time.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
		fmt.Fprintf(&b, "%s %s %s\n", at, e.Name, e.Data)
	}
	return b.String()
}

// helperText is what the helpers wrote last.
func helperText(running []*sidecar.Helper) string {
	var b strings.Builder
	for _, h := range running {
		if text := strings.TrimSpace(h.Stderr()); text != "" {
			fmt.Fprintf(&b, "%s:\n%s\n", h.Name(), text)
		}
	}
	return b.String()
}

// oomKills is how often the kernel has killed a process for want of memory, and
// where that was counted. A count of -1 is not known.
type oomKills struct {
	where string
	count int64
}

// countOOM reads the count of this process's control group, which QEMU is in too
// (memory.events, cgroup-v2), or else that of the whole host.
func countOOM() oomKills {
	if b, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "0::"); ok {
			file := filepath.Join("/sys/fs/cgroup", dir, "memory.events")
			if n := counter(file, "oom_kill"); n >= 0 {
				return oomKills{"the control group " + dir, n}
			}
		}
	}
	return oomKills{"this host", counter("/proc/vmstat", "oom_kill")}
}

// counter is a number in a file of names and numbers, or -1.
func counter(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// since says what was counted meanwhile, or "".
func (k oomKills) since(now oomKills) string {
	if k.where != now.where || k.count < 0 || now.count <= k.count {
		return ""
	}
	return fmt.Sprintf("the kernel has killed %d process(es) of %s for want of memory while the guest ran\n", now.count-k.count, now.where)
}

// judge says how the machine ended.
func (w *watcher) judge(running []*sidecar.Helper, killed oomKills) control.Exit {
	w.look()
	w.facts.collect(w.proc, running, killed, countOOM())
	return w.facts.judge()
}

// look takes down what there is to see of QEMU and the guest's console.
func (w *watcher) look() {
	f := &w.facts
	f.console = w.console()
	end := w.proc.Ending()
	f.panicked = end.Panic != nil
	if end.Shutdown != nil {
		f.reason = end.Shutdown.Reason
	}
	f.stderr = []byte(w.proc.Stderr())
	if err := w.proc.Err(); err != nil {
		f.qemuErr = err
		if he := (*qemu.HostError)(nil); errors.As(err, &he) {
			f.qemuHint = he.Hint
		}
	}
}
