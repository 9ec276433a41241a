package test_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
)

// withoutSandbox is a QEMU that leaves the sandbox out, as no definition can
// make it.
const withoutSandbox = `#!/bin/bash
args=()
while [ $# -gt 0 ]; do
  if [ "$1" = -sandbox ]; then shift 2; else args+=("$1"); shift; fi
done
exec qemu-system-x86_64 "${args[@]}"
`

// TestQEMURunsAsTheUserWithNothing looks at it from outside while its guest
// writes to a volume, which the next start finds, whoever that one is.
func TestQEMURunsAsTheUserWithNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user: run as root")
	}
	h := host(t)
	share := filepath.Join(h.Dir, "share")
	if err := os.Mkdir(share, 0o700); err != nil { // root's alone
		t.Fatal(err)
	}
	more := fmt.Sprintf(`
[[volumes]]
image = "data.img"
mountPoint = "/data"
size = 64
[[shares]]
tag = "src"
source = %q
mountPoint = "/src"
proto = "virtiofs"
[[interfaces]]
type = "user"
id = "net"
user.backend = "slirp" # passt would have the port
[[forwardPorts]]
host = { address = "127.0.0.2", port = 81 }
guest.port = 80
`, share)
	file := define(t, h, "user", "user = \"nobody\"\n"+more)
	v := h.Start(file)
	v.WaitReady()
	v.Exec(busybox(t), "sh", "-c", "echo kept >/data/f && echo shared >/src/f")
	image := filepath.Join(h.Dirs().Machine("user").State, "data.img")
	s := security(t, h, 0)
	got := s.Processes[0]
	if got.PID != v.Status().QEMU {
		t.Errorf("the first process is %d; want QEMU, %d", got.PID, v.Status().QEMU)
	}
	got.PID, got.Filters, got.Threads = 0, 0, 0
	want := control.Confined{Name: "QEMU", Weaker: []string{}}
	want.UID, want.GID, want.Groups, want.Seccomp, want.NoNewPrivs = 65534, 65534, []int{65534}, "filter", true
	want.Capabilities, want.Bounding = []string{"cap_net_bind_service"}, []string{"cap_net_bind_service"}
	want.Writable, want.Listening = []string{image}, []string{"tcp 127.0.0.2:81"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("QEMU (-want +got):\n%s", diff)
	}
	if n := len(s.Processes); n < 2 || s.Processes[n-1].Name != "virtiofsd of share src" || s.Processes[n-1].Unfiltered == s.Processes[n-1].Threads {
		t.Errorf("processes = %+v; want virtiofsd with a filter at the end", s.Processes)
	}
	text := h.Mvm("status", "--security", "user")
	for _, want := range []string{"user         65534, of group 65534\n", "capabilities cap_net_bind_service; bounded to cap_net_bind_service\n", "writes       " + image, "\nas its definition says\n"} {
		if !strings.Contains(text.Stdout, want) {
			t.Errorf("status --security lacks %q:\n%s", want, text.Stdout)
		}
	}
	v.Stop()

	// Root again, in a QEMU that ignores what it is told about its sandbox.
	lax := write(t, filepath.Join(h.Dir, "lax-qemu"), withoutSandbox)
	if err := os.Chmod(lax, 0o755); err != nil {
		t.Fatal(err)
	}
	v = h.Start(define(t, h, "user", fmt.Sprintf("qemu.package = %q\n%s", lax, more)))
	v.WaitReady()
	if got := v.Exec(busybox(t), "sh", "-c", busybox(t)+" cat /data/f"); got != "kept\n" {
		t.Errorf("the volume has %q; want what was written as another user", got)
	}
	s = security(t, h, 104)
	q := s.Processes[0]
	if q.Seccomp != "none" || len(q.Weaker) != 1 || !strings.HasPrefix(q.Weaker[0], "it has no seccomp filter; want -sandbox on,") {
		t.Errorf("without a sandbox QEMU has %q, and is weaker by %q; want one sentence about seccomp", q.Seccomp, q.Weaker)
	}
	if q.UID != 0 || !slices.Equal(q.Capabilities, want.Capabilities) || !q.NoNewPrivs {
		t.Errorf("root's QEMU is %+v; want user 0 with the one capability that it needs", q)
	}
	v.Stop()
}

// security is what "mvm status --security" says of the machine "user".
func security(t *testing.T, h *test.Host, code int) (s control.Security) {
	t.Helper()
	e := h.Mvm("status", "--security", "--json", "user")
	if err := json.Unmarshal([]byte(e.Stdout), &s); err != nil || e.Code != code || len(s.Processes) == 0 {
		t.Fatalf("mvm status --security = %d, %v; want %d\n%s%s", e.Code, err, code, e.Stdout, e.Stderr)
	}
	return s
}

// TestAnUnknownUserIsSaidBeforeAnythingIsMade: it is the host that lacks it.
func TestAnUnknownUserIsSaidBeforeAnythingIsMade(t *testing.T) {
	h := host(t)
	e := h.Mvm("run", define(t, h, "nouser", "user = \"mvm-has-no-such-user\"\n[[volumes]]\nimage = \"a.img\"\nmountPoint = \"/a\"\nsize = 64\n"))
	if e.Code != 101 || !strings.Contains(e.Stderr, "mvm: error: user mvm-has-no-such-user: this host has no such user\nmvm: hint: make the user (useradd --system") {
		t.Errorf("mvm run = %d; want 101 and a hint\n%s", e.Code, e.Stderr)
	}
	if _, err := os.Stat(filepath.Join(h.Dirs().Machine("nouser").State, "a.img")); !os.IsNotExist(err) {
		t.Errorf("the volume is made: %v", err)
	}
}
