package vm

import (
	"slices"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/sdnotify"
)

// maxUnits is how many units of a guest's are named when they become active: its
// systemd names targets, of which a boot has a few.
const maxUnits = 32

// listen begins to hear the guest's systemd, unless the owner has it speak with
// somebody else. A machine whose systemd is not heard is a machine all the same.
func (s *supervisor) listen(h *held, host *Host) {
	if _, own := s.c.CredentialFiles[sdnotify.Credential]; own {
		return
	}
	l, err := sdnotify.Listen(h.vsock.CID)
	if err != nil {
		s.note("what systemd in the guest says of itself is not heard: %v", err)
		return
	}
	h.systemd, host.Notify = l, true
}

// says is what systemd in the guest says, nil without it.
func (h *held) says() <-chan sdnotify.Message {
	if h.systemd == nil {
		return nil
	}
	return h.systemd.Messages()
}

// systemdSays acts on what systemd in the guest says of itself. mvm has known the
// guest to be ready since its init ran; this is what init has made of that.
func (w *watcher) systemdSays(m sdnotify.Message) {
	var before, now control.Guest
	w.s.update(func(st *control.Status) {
		if st.Guest != nil {
			before = *st.Guest
		}
		now = before
		now.Ready = now.Ready || m.Ready
		if m.Status != "" {
			now.Status = harmless([]byte(m.Status))
		}
		if unit := harmless([]byte(m.Unit)); unit != "" && len(now.Units) < maxUnits && !slices.Contains(now.Units, unit) {
			now.Units = append(slices.Clip(now.Units), unit)
		}
		st.Guest = &now
	})
	if len(now.Units) > len(before.Units) {
		w.s.note("the guest has reached %s", now.Units[len(before.Units)])
	}
	if now.Ready && !before.Ready {
		w.s.note("systemd in the guest has started everything")
	}
	if m.Exit != nil {
		w.exitStatus(*m.Exit)
	}
}

// exitStatus takes the guest's exit status, by whatever way it came.
func (w *watcher) exitStatus(status int) {
	if w.facts.status == nil { // a guest that says it again and again floods nobody
		w.s.note("the guest's exit status is %d", status)
	}
	w.facts.status = &status
}
