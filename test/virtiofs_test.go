package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
)

// TestOverlayOnAShare: the writable store is below a directory of the host's, by
// virtiofs, and keeps over boots what was written and what was removed.
func TestOverlayOnAShare(t *testing.T) {
	h := host(t)
	upper := filepath.Join(h.Dir, "upper")
	if err := os.Mkdir(upper, 0o755); err != nil {
		t.Fatal(err)
	}
	definition := define(t, h, "upper", "writableStoreOverlay = \"/nix/.rw-store/deep\"\n"+
		share("virtiofs", "rw-store", upper, "/nix/.rw-store")+"posixAcl = false\n")
	const look = `; cat new moved/bin/*; ls | grep -c linux-.*-amd64$; ls -A *-myvm-console/bin; cat /proc/self/mountinfo`
	first := h.Start(definition, "--", "sh", "-c", `cd /nix/store; echo new >new; mv *-myvm-hello moved; rm -r *-linux-*-amd64
		rm -r *-myvm-console/bin && mkdir *-myvm-console/bin`+look).Wait()
	second := h.Start(definition, "--", "sh", "-c", "cd /nix/store"+look).Wait()
	hello, err := os.ReadFile(filepath.Join(storeOnHost(t), storeName(t, "-myvm-hello"), "bin/myvm-hello"))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range []test.Ended{first, second} {
		checkEnd(t, e, 0)
		out, mountinfo, _ := strings.Cut(e.Stdout, "\n0\n")
		if diff := cmp.Diff("new\n"+strings.TrimSuffix(string(hello), "\n"), out); diff != "" {
			t.Errorf("boot %d: the guest's output differs (-want +got):\n%s", i+1, diff)
		}
		want := []string{
			"/dev/vda on /nix/.ro-store type erofs (ro)",
			"rw-store on /nix/.rw-store type virtiofs (rw)",
			"overlay on /nix/store type overlay (rw,lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/deep/store,workdir=/nix/.rw-store/deep/work,userxattr)",
		}
		if diff := cmp.Diff(want, reported(t, mountinfo, "/nix")); diff != "" {
			t.Errorf("boot %d: the guest has other mounts (-want +got):\n%s", i+1, diff)
		}
	}
}

// TestOverlayOn9pIsRefused before anything is made: such an overlay mounts, and
// fails later.
func TestOverlayOn9pIsRefused(t *testing.T) {
	h := host(t)
	definition := define(t, h, "upper", "writableStoreOverlay = \"/nix/.rw-store\"\n"+
		share("9p", "rw-store", h.Dir, "/nix/.rw-store"))
	for _, command := range []string{"check", "run", "mounts"} {
		e := h.Mvm(command, definition)
		const why = "writableStoreOverlay: the upper directory /nix/.rw-store/store is on /nix/.rw-store, and overlayfs cannot keep it on 9p"
		if e.Code != 100 || !strings.Contains(e.Stderr, why) || !strings.Contains(e.Stderr, `hint: set proto = "virtiofs" for the share`) {
			t.Errorf("mvm %s = %d; want 100 and why, with a hint\n%s", command, e.Code, e.Stderr)
		}
	}
}

// TestVirtiofsdThatIsKilled ends the machine, which names it.
func TestVirtiofsdThatIsKilled(t *testing.T) {
	h := host(t)
	// The guest hangs on its share then, and cannot power off.
	v := h.Start(define(t, h, "killed", "stopTimeout = \"1s\"\n"+share("virtiofs", "src", h.Dir, "/src")))
	v.WaitReady()
	daemon := child(t, v.PID(), "virtiofsd")
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	checkEnd(t, v.Wait(), 125, fmt.Sprintf(`error: virtiofsd of share src \(process %d\) was ended by signal 9 \(killed\).*`, daemon))
	if e := h.Mvm("why", "killed"); e.Code != 0 || !strings.Contains(e.Stdout, "helper died") {
		t.Errorf("mvm why = %d; want 0 and \"helper died\"\n%s", e.Code, e.Stdout)
	}
}

// child is the process that pid started and that is called name.
func child(t *testing.T, pid int, name string) int {
	t.Helper()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for f := range strings.FieldsSeq(string(b)) {
			comm, _ := os.ReadFile("/proc/" + f + "/comm")
			if strings.TrimSpace(string(comm)) == name {
				var child int
				fmt.Sscan(f, &child)
				return child
			}
		}
	}
	t.Fatalf("process %d has no child %s", pid, name)
	return 0
}
