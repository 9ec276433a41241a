package vm

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
)

var _ control.Measured = (*supervisor)(nil)

// Usage is what the machine uses now.
func (s *supervisor) Usage(ctx context.Context) control.Usage {
	s.mu.Lock()
	q, pid, nets := s.qmp, s.status.QEMU, s.nets
	s.mu.Unlock()
	u := control.Usage{Goroutines: runtime.NumGoroutine()}
	if p := process(os.Getpid()); p != nil {
		u.Supervisor = *p
	}
	if q == nil || pid == 0 {
		return u
	}
	u.Networks = nets.usage()
	u.QEMU = process(pid)
	var err error
	u.Disks, err = diskUsage(ctx, q)
	u.Answers = err == nil
	if u.Answers && s.c.Balloon {
		u.Balloon, _ = q.QueryBalloon(ctx) // a guest without the driver knows none
	}
	if u.Answers && s.c.HotplugMem > 0 {
		if n, err := q.QueryHotplugged(ctx); err == nil {
			u.Plugged = &n
		}
	}
	return u
}

// diskUsage asks QEMU what it has counted.
func diskUsage(ctx context.Context, q *qemu.QMP) ([]control.Disk, error) {
	var answer []struct {
		Device string `json:"device"`
		Node   string `json:"node-name"`
		QDev   string `json:"qdev"`
		Stats  struct {
			RdBytes   int64 `json:"rd_bytes"`
			WrBytes   int64 `json:"wr_bytes"`
			RdOps     int64 `json:"rd_operations"`
			WrOps     int64 `json:"wr_operations"`
			FlushOps  int64 `json:"flush_operations"`
			RdNS      int64 `json:"rd_total_time_ns"`
			WrNS      int64 `json:"wr_total_time_ns"`
			FailedRds int64 `json:"failed_rd_operations"`
			FailedWrs int64 `json:"failed_wr_operations"`
		} `json:"stats"`
	}
	if err := q.Do(ctx, "query-blockstats", nil, &answer); err != nil {
		return nil, err
	}
	var disks []control.Disk
	for _, a := range answer {
		disks = append(disks, control.Disk{
			Name:      cmp.Or(a.Device, a.Node, a.QDev),
			ReadBytes: a.Stats.RdBytes, WrittenBytes: a.Stats.WrBytes,
			Reads: a.Stats.RdOps, Writes: a.Stats.WrOps, Flushes: a.Stats.FlushOps,
			ReadTime: time.Duration(a.Stats.RdNS), WriteTime: time.Duration(a.Stats.WrNS),
			FailedReads: a.Stats.FailedRds, FailedWrites: a.Stats.FailedWrs,
		})
	}
	slices.SortFunc(disks, func(a, b control.Disk) int { return strings.Compare(a.Name, b.Name) })
	return disks, nil
}

// clockTick is the unit of times in /proc: USER_HZ, 100 on every Linux that Go
// runs on.
const clockTick = time.Second / 100

// process is what /proc says of a process, or nil if there is none.
func process(pid int) *control.Process {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil
	}
	p := parseStat(stat)
	if p == nil {
		return nil
	}
	p.Files = -1
	if fds, err := os.ReadDir(filepath.Join(dir, "fd")); err == nil {
		p.Files = len(fds)
	}
	return p
}

// parseStat reads fields of proc_pid_stat(5). The command's name may hold
// anything, so they are counted from the last parenthesis, behind which is the
// third.
func parseStat(stat []byte) *control.Process {
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	number := func(field int) int64 {
		if field-3 >= len(f) {
			return -1
		}
		n, err := strconv.ParseInt(f[field-3], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	user, system, threads, pages := number(14), number(15), number(20), number(24)
	if min(user, system, threads, pages) < 0 {
		return nil
	}
	return &control.Process{
		CPU:      time.Duration(user+system) * clockTick,
		Resident: pages * int64(os.Getpagesize()), Threads: int(threads),
	}
}
