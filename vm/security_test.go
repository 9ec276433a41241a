package vm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/security"
)

func TestEveryWeaknessIsSaid(t *testing.T) {
	const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
	shut := func() *security.Process {
		return &security.Process{
			UID: 65534, GID: 65534, Groups: []int{65534, 104}, Seccomp: "filter", Filters: 1, NoNewPrivs: true,
			Capabilities: []string{"cap_net_bind_service"}, Bounding: []string{"cap_net_bind_service"},
			Writable: []string{"/dev/net/tun", "/srv/a.img", "/srv/share/dir/file (deleted)"}, Args: []string{"qemu", "-S", "-sandbox", sandbox},
		}
	}
	e := expectation{
		uid: 65534, gid: 65534, groups: []int{104}, caps: []string{"cap_net_bind_service"}, sandbox: sandbox,
		writes: map[string]bool{"/dev": true, "/srv/a.img": true, "/srv/share": true},
	}
	tests := []struct {
		name string
		edit func(*security.Process, *expectation)
		want []string
	}{
		{"nothing", func(*security.Process, *expectation) {}, []string{}},
		{"user", func(p *security.Process, _ *expectation) { p.UID, p.GID, p.Groups = 0, 0, []int{1} }, []string{
			"it runs as user 0; want 65534", "it runs as group 0; want 65534", "it has group 1 besides"}},
		{"no filter", func(p *security.Process, _ *expectation) { p.Seccomp = "none" }, []string{
			"it has no seccomp filter; want -sandbox " + sandbox}},
		{"fewer denials", func(p *security.Process, _ *expectation) {
			p.Args = []string{"qemu", "-sandbox", "on,obsolete=deny,spawn=allow,resourcecontrol=deny", "-sandbox", sandbox}
		}, []string{"its sandbox does not deny elevateprivileges", "its sandbox does not deny spawn"}},
		{"fewer denials that were asked for", func(p *security.Process, e *expectation) {
			p.Args[3], e.sandbox = "on", "on"
		}, []string{}},
		{"no sandbox that was asked for", func(p *security.Process, e *expectation) {
			p.Seccomp, p.Args, e.sandbox = "none", nil, "off"
		}, []string{}},
		{"privileges", func(p *security.Process, _ *expectation) {
			p.NoNewPrivs, p.Capabilities, p.Bounding = false, []string{"cap_chown", "cap_net_bind_service"}, []string{"cap_chown", "cap_kill"}
		}, []string{
			"a program that it executes can gain privileges", "it has cap_chown besides", "its bounding set has 2 capabilities besides"}},
		{"an mvm that could not change it", func(p *security.Process, e *expectation) {
			p.Bounding, e.bounding = []string{"cap_chown"}, true
		}, []string{}},
		{"core and paths", func(p *security.Process, _ *expectation) {
			p.Core, p.Writable = true, []string{"/etc/passwd", "/srv/a.imgs", "/srv/shared"}
		}, []string{
			"it may leave a core with the guest's memory in it",
			"it has /etc/passwd open for writing, which no key of the definition names",
			"it has /srv/a.imgs open for writing, which no key of the definition names",
			"it has /srv/shared open for writing, which no key of the definition names"}},
		{"arguments of the owner's", func(p *security.Process, e *expectation) {
			p.Writable, e.anyPath = []string{"/tmp/trace"}, true
		}, []string{}},
	}
	for _, tt := range tests {
		p, e := shut(), e
		tt.edit(p, &e)
		if diff := cmp.Diff(tt.want, e.weaker(p)); diff != "" {
			t.Errorf("%s: weaker() (-want +got):\n%s", tt.name, diff)
		}
	}
}
