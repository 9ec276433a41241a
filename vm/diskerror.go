package vm

import (
	"context"
	"fmt"
	"strings"

	"github.com/mvmrun/mvm/qemu"
)

// listenForDisks passes on what QEMU says of disks that fail, until ctx ends or
// QEMU does. A guest that is stopped for it says nothing by itself.
func (w *watcher) listenForDisks(ctx context.Context) {
	events := w.proc.QMP().Events()
	defer events.Close()
	for {
		ev, err := events.Next(ctx)
		if err != nil {
			return
		}
		switch failed, ok := ev.BlockError(); {
		case ok:
			select {
			case w.disks <- failed:
			case <-ctx.Done():
				return
			}
		case ev.Name == "RESUME":
			// If it fails again, that is news.
			select {
			case w.disks <- qemu.BlockError{}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// diskFailed says that a disk fails: once for each disk and operation, until the
// guest is resumed. The zero value says that it was.
func (w *watcher) diskFailed(e qemu.BlockError) {
	if e == (qemu.BlockError{}) {
		clear(w.failing)
		return
	}
	if w.failing[e] {
		return
	}
	if w.failing == nil {
		w.failing = make(map[qemu.BlockError]bool)
	}
	w.failing[e] = true
	text := fmt.Sprintf("%s: the host cannot %s it: %s", w.s.diskName(e.Node), e.Operation, strings.ToLower(e.Reason))
	if e.Action == "stop" {
		text += fmt.Sprintf("; the guest is paused: free some space, then run mvm resume %s", w.s.c.MachineName())
	}
	w.s.note("%s", text)
}

// diskName is what QEMU calls a disk, in the words of the definition.
func (s *supervisor) diskName(node string) string {
	for i := range s.c.Volumes {
		if volumeID(i) == node {
			return "the volume " + s.c.Volumes[i].path(s.place)
		}
	}
	return "the disk " + harmless([]byte(node))
}
