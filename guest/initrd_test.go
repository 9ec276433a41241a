package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJoinInitFindsProcess1(t *testing.T) {
	tests := []struct {
		name   string
		cgroup string // of process 1
		procs  string // the file that is there, below the root
		err    string // part of the error, or ""
	}{
		{"version 2", "0::/init.scope\n", "init.scope/cgroup.procs", ""},
		{"version 2, in the root", "0::/\n", "cgroup.procs", ""},
		{"both versions", "4:memory:/\n1:name=systemd:/init.scope\n0::/init.scope\n", "unified/init.scope/cgroup.procs", ""},
		{"version 1", "4:memory:/\n1:name=systemd:/init.scope\n", "systemd/init.scope/cgroup.procs", ""},
		{"not mounted", "0::/init.scope\n", "elsewhere", "it is not below "},
		{"not of systemd", "4:memory:/\n", "cgroup.procs", "it is not below "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			procs := filepath.Join(root, tt.procs)
			if err := os.MkdirAll(filepath.Dir(procs), 0o755); err != nil {
				t.Fatal(err)
			}
			proc := filepath.Join(t.TempDir(), "cgroup")
			for file, content := range map[string]string{procs: "", proc: tt.cgroup} {
				if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := joinInit(proc, root)
			got, rerr := os.ReadFile(procs)
			if rerr != nil {
				t.Fatal(rerr)
			}
			switch {
			case tt.err == "" && (err != nil || string(got) != "0"):
				t.Errorf("joinInit() = %v, with %q in %s; want 0 in it", err, got, tt.procs)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("joinInit() = %v; want …%s…", err, tt.err)
			}
		})
	}
}
