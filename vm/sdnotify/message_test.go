package sdnotify

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	seven, zero := 7, 0
	for _, tt := range []struct {
		text string
		want Message
	}{
		{"", Message{}},
		{"READY=1\nSTATUS=Startup finished in 1.1s.\n", Message{Ready: true, Status: "Startup finished in 1.1s."}},
		{"X_SYSTEMD_UNIT_ACTIVE=multi-user.target", Message{Unit: "multi-user.target"}},
		{"EXIT_STATUS=7\nX_SYSTEMD_SHUTDOWN=poweroff\nSTOPPING=1", Message{Exit: &seven, Stopping: true}},
		{"STATUS=a=b\r\nREADY=0", Message{Status: "a=b\r"}},
		{"EXIT_STATUS=0", Message{Exit: &zero}},
		{"EXIT_STATUS=256\nEXIT_STATUS=-1\nEXIT_STATUS=\nREADY\nREADY=yes\n=\n\n\x00", Message{}},
	} {
		if diff := cmp.Diff(tt.want, Parse([]byte(tt.text))); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.text, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=x\nEXIT_STATUS=12\nX_SYSTEMD_UNIT_ACTIVE=a.target"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := Parse(b)
		if m.Exit != nil && (*m.Exit < 0 || *m.Exit > 255) {
			t.Errorf("Parse(%q) has the exit status %d; want 0 to 255", b, *m.Exit)
		}
		if len(m.Status)+len(m.Unit) > len(b) {
			t.Errorf("Parse(%q) has more text than there is", b)
		}
	})
}
