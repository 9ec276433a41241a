package control

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/security"
)

// inspected is a machine that can look at its processes, or says why not.
type inspected struct {
	*machine
	answer Security
	err    error
}

func (m inspected) Security(context.Context) (Security, error) { return m.answer, m.err }

func TestSecurityIsTheMachinesAnswer(t *testing.T) {
	want := Security{Processes: []Confined{
		{Name: "QEMU", Process: security.Process{PID: 7, UID: 65534, Groups: []int{}, Seccomp: "filter", Filters: 1, Threads: 3, NoNewPrivs: true,
			Capabilities: []string{}, Bounding: []string{}, Writable: []string{"/srv/a b"}, Listening: []string{"tcp [::]:80"}}, Weaker: []string{}},
		{Name: "virtiofsd of share src", Process: security.Process{PID: 8, Groups: []int{1}, Seccomp: "none", Threads: 1, Unfiltered: 1,
			Capabilities: []string{"cap_chown"}, Bounding: []string{}, Writable: []string{}, Listening: []string{}, Hidden: true}, Weaker: []string{"it has no seccomp filter"}},
	}}
	for _, tt := range []struct {
		m    Machine
		want Security
		err  string
	}{
		{inspected{&machine{}, want, nil}, want, ""},
		{inspected{&machine{}, Security{}, errors.New("QEMU does not run")}, Security{}, "QEMU does not run"},
		{&machine{}, Security{}, "this machine cannot look at its processes"},
	} {
		path := filepath.Join(t.TempDir(), "s")
		server, err := Serve(path, tt.m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := NewClient("a", path).Security(t.Context())
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("Security() error = %v; want %q", err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Security() (-want +got):\n%s", diff)
		}
		if err := server.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if !want.Weaker() || (&Security{Processes: want.Processes[:1]}).Weaker() {
		t.Error("Weaker() does not say whether any process is")
	}
}
