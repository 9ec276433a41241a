package machined

import "testing"

func TestOwnService(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"0::/machine.slice/mvm@web.service\n":                                        true,
		"0::/machine.slice/machine-mvm.slice/mvm@web.service\n":                      true,
		"1:name=systemd:/system.slice/mvm@web.service\n0::/\n":                       true,
		"0::/user.slice/user-0.slice/session-3.scope\n":                              false,
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/mvm@a.service\n": false,
		"0::/system.slice/launcher.service\n":                                        false,
		"0::/\n":                                                                     false,
		"":                                                                           false,
	} {
		if got := isOwnService([]byte(cgroup)); got != want {
			t.Errorf("isOwnService(%q) = %v; want %v", cgroup, got, want)
		}
	}
}
