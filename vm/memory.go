package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
)

// balloon asks the guest to do with so much memory.
func (c *Config) balloon(ctx context.Context, q *qemu.QMP, mib int) error {
	if !c.Balloon {
		return errors.New("the machine has no balloon: set balloon = true in its definition")
	}
	if mib < 1 || mib > c.MemMiB() {
		return fmt.Errorf("%d MiB: want 1 to %d, the memory that the machine was started with", mib, c.MemMiB())
	}
	return q.SetBalloon(ctx, int64(mib)<<20)
}

// plug asks the guest to have so much memory, with what is plugged in.
func (c *Config) plug(ctx context.Context, q *qemu.QMP, mib int) error {
	if c.HotplugMem == 0 {
		return errors.New("the machine can be given no more memory: set hotplugMem in its definition")
	}
	more := mib - c.MemMiB()
	if more < 0 || more > c.HotplugMem || more%2 != 0 {
		return fmt.Errorf("%d MiB: want %d, which is mem, to %d, which is hotplugMem more, in steps of 2",
			mib, c.MemMiB(), c.MemMiB()+c.HotplugMem)
	}
	return q.SetHotplugged(ctx, int64(more)<<20)
}

// followMemory keeps the status true about memory that comes and goes, until QEMU
// is gone. The guest follows in its own time, so no order's answer tells.
func (w *watcher) followMemory(ctx context.Context) {
	c := w.s.c
	w.s.update(func(st *control.Status) {
		st.BalloonMiB, st.PluggedMiB = nil, nil
		if c.Balloon {
			st.BalloonMiB = new(c.MemMiB())
		}
		if c.HotplugMem > 0 {
			st.PluggedMiB = new(int)
		}
	})
	if !c.Balloon && c.HotplugMem == 0 {
		return
	}
	events := w.proc.QMP().Events()
	w.wg.Go(func() {
		defer events.Close()
		for {
			e, err := events.Next(context.WithoutCancel(ctx)) // a stop is no reason to look away
			if err != nil {
				return
			}
			w.s.update(func(st *control.Status) { noteMemory(st, e) })
		}
	})
}

// noteMemory is what an event says of the guest's memory, if it says anything.
func noteMemory(st *control.Status, e qemu.Event) {
	var data struct{ Actual, Size int64 }
	if json.Unmarshal(e.Data, &data) != nil {
		return
	}
	switch {
	case e.Name == "BALLOON_CHANGE" && st.BalloonMiB != nil:
		st.BalloonMiB = new(int(data.Actual >> 20))
	case e.Name == "MEMORY_DEVICE_SIZE_CHANGE" && st.PluggedMiB != nil:
		st.PluggedMiB = new(int(data.Size >> 20))
	}
}
