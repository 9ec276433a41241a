package vm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/sdnotify"
)

// TestSystemdSays: what a guest's systemd says becomes events, once each, and the
// machine's status. A guest that says too much floods nobody.
func TestSystemdSays(t *testing.T) {
	var said []string
	s := &supervisor{journal: newJournal(), o: Options{Event: func(e control.Event) { said = append(said, e.Message) }}}
	w := &watcher{s: s}
	seven, eight := 7, 8
	for _, m := range []sdnotify.Message{
		{Status: "Starting.\x1b[31m"},
		{Unit: "basic.target"},
		{Unit: "basic.target"},
		{Ready: true, Status: "Ready."},
		{Ready: true},
		{Unit: "multi-user.target"},
		{},
		{Stopping: true, Exit: &seven},
		{Exit: &eight},
	} {
		w.systemdSays(m)
	}
	want := []string{
		"the guest has reached basic.target", "systemd in the guest has started everything",
		"the guest has reached multi-user.target", "the guest's exit status is 7",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	guest := &control.Guest{Ready: true, Status: "Ready.", Units: []string{"basic.target", "multi-user.target"}}
	if diff := cmp.Diff(guest, s.Status().Guest); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if w.facts.status == nil || *w.facts.status != 8 {
		t.Errorf("the guest's exit status is %v; want the last", w.facts.status)
	}

	said = nil
	for i := range 1000 {
		w.systemdSays(sdnotify.Message{Unit: fmt.Sprint(i), Status: fmt.Sprint(i)})
	}
	if got := s.Status().Guest; len(got.Units) != maxUnits || got.Status != "999" {
		t.Errorf("after a flood there are %d units and the status %q; want %d and the last", len(got.Units), got.Status, maxUnits)
	}
	if len(said) != maxUnits-2 || slices.Contains(said, "") {
		t.Errorf("%d events of a flood; want %d", len(said), maxUnits-2)
	}
}
