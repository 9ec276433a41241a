package vm

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/control"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 4711 20 300 0"
	want := &control.Process{CPU: 2 * time.Second, Resident: 300 * int64(os.Getpagesize()), Threads: 4}
	for _, name := range []string{"12 (qemu)", "12 (a) S 1 (b)"} {
		if diff := cmp.Diff(want, parseStat([]byte(name+rest))); diff != "" {
			t.Errorf("parseStat with the name %s (-want +got):\n%s", name, diff)
		}
	}
	for _, bad := range []string{"", "12 (qemu) S 1"} {
		if got := parseStat([]byte(bad)); got != nil {
			t.Errorf("parseStat(%q) = %+v; want nil", bad, got)
		}
	}
}

func TestProcessIsThisOne(t *testing.T) {
	if p := process(os.Getpid()); p == nil || p.Resident < 1<<20 || p.Threads < 1 || p.Files < 3 {
		t.Errorf("process(self) = %+v; want memory, threads and files", p)
	}
	if p := process(1 << 30); p != nil {
		t.Errorf("process(of nobody) = %+v; want nil", p)
	}
}
