package vm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/control"
)

func TestNoteMemory(t *testing.T) {
	has := control.Status{BalloonMiB: new(256), PluggedMiB: new(0)}
	tests := []struct {
		name, event, data string
		before, want      control.Status
	}{
		{"balloon", "BALLOON_CHANGE", `{"actual": 134217728}`, has, control.Status{BalloonMiB: new(128), PluggedMiB: new(0)}},
		{"plugged", "MEMORY_DEVICE_SIZE_CHANGE", `{"id": "vm0", "size": 2097152, "qom-path": "/machine/peripheral/vm0"}`, has, control.Status{BalloonMiB: new(256), PluggedMiB: new(2)}},
		{"a device of the owner's own", "MEMORY_DEVICE_SIZE_CHANGE", `{"size": 2097152}`, control.Status{}, control.Status{}},
		{"something else", "RESET", `{"guest": true}`, has, has},
		{"no data", "STOP", ``, has, has},
		{"nonsense", "BALLOON_CHANGE", `{"actual": "much"}`, has, has},
	}
	for _, tt := range tests {
		got := tt.before
		noteMemory(&got, qemu.Event{Name: tt.event, Data: json.RawMessage(tt.data)})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: noteMemory() (-want +got):\n%s", tt.name, diff)
		}
	}
}
