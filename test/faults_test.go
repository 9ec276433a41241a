package test_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/test"
)

// readyMounts is what the guest of a fake QEMU reports to have mounted: what the
// plan of a machine with a store disk and nothing else says.
const readyMounts = `1 1 0:2 / / rw - tmpfs rootfs rw
22 1 253:0 / /nix/store ro - erofs /dev/vda ro
`

// A fakeHost is a host whose QEMU does what a script says.
type fakeHost struct {
	*test.Host
	t     *testing.T
	fake  string
	ready string // the directive for a guest that becomes ready
}

func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	h := &fakeHost{Host: host(t), t: t}
	h.fake = filepath.Join(h.Dir, "fakeqemu")
	if out, err := exec.Command("go", "build", "-o", h.fake, "./fakeqemu").CombinedOutput(); err != nil {
		t.Fatalf("build the fake QEMU: %v\n%s", err, out)
	}
	h.ready = "agent ready " + write(t, filepath.Join(h.Dir, "mountinfo"), readyMounts)
	return h
}

// start starts a machine whose QEMU follows the script.
func (h *fakeHost) start(t *testing.T, name, script, more string) *test.VM {
	t.Helper()
	file := h.define(t, name, script, more)
	return h.Start(file)
}

func (h *fakeHost) define(t *testing.T, name, script, more string) string {
	t.Helper()
	h.Env = []string{"FAKEQEMU_SCRIPT=" + script}
	return define(t, h.Host, name, fmt.Sprintf("qemu.package = %q\n%s", h.fake, more))
}

// nothingLeft fails the test if a machine that has ended left anything but its
// state: the run-time directory, the lock, a file in the making.
func (h *fakeHost) nothingLeft(t *testing.T, name string) {
	t.Helper()
	place := h.Dirs().Machine(name)
	if _, err := os.Lstat(place.Runtime); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %s (%v)", place.Runtime, err)
	}
	if locked, err := place.Running(); locked || err != nil {
		t.Errorf("left behind: the lock of %s: held is %v, %v", name, locked, err)
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		// A fake QEMU has its script in its environment, and the script has h.Dir.
		args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.HasPrefix(string(args), "microvm@"+name+"\x00") {
			t.Errorf("left behind: process %s, QEMU", e.Name())
		}
	}
}

// TestFaultsOfQEMU: whatever QEMU does, mvm ends, says what it was, once, and
// nothing is left.
func TestFaultsOfQEMU(t *testing.T) {
	h := newFakeHost(t)
	kill := func(sig syscall.Signal) func(*testing.T, *test.VM) {
		return func(t *testing.T, v *test.VM) {
			v.WaitReady()
			if err := syscall.Kill(v.Status().QEMU, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := func(await string) func(*testing.T, *test.VM) {
		return func(_ *testing.T, v *test.VM) {
			v.Await(await)
			v.Signal(syscall.SIGTERM)
		}
	}
	const short = "readyTimeout = \"1s\"\nstopTimeout = \"1s\""
	tests := []struct {
		name   string
		script string
		more   string // of the definition
		act    func(*testing.T, *test.VM)
		code   int
		want   []string
	}{
		{"it exits at once", "stderr no such thing; exit 1", "", nil, 122, []string{"error: QEMU exited with status 1: no such thing", "hint: .*"}},
		{"it does not greet", "greeting none", short, nil, 122, []string{"error: start QEMU: QMP greeting: no answer on QMP within 5s", "hint: .*"}},
		{"it greets with garbage", "greeting garbage", "", nil, 122, []string{"error: start QEMU: .* QMP protocol violated: .*", "hint: .*"}},
		{"its greeting is cut", "greeting cut", "", nil, 122, []string{"error: start QEMU: .* unexpected EOF", "hint: .*"}},
		{"it does not answer cont", "on cont silence", short, nil, 123, []string{"error: the guest was not ready within 1s", "hint: .*"}},
		{"it answers cont with garbage", "on cont garbage", "", nil, 122, []string{"error: QEMU is out of control: .* QMP protocol violated: .*"}},
		{"its answer is cut", "on cont cut", "", nil, 122, []string{"error: QEMU is out of control: .* unexpected EOF"}},
		{"it hangs up", "on cont close", "", nil, 122, []string{"error: QEMU is out of control: .*"}},
		{"it is killed on cont", "on cont kill", "", nil, 122, []string{"error: QEMU was ended by signal 9 .*"}},
		{"it refuses cont", "on cont error GenericError no way", "", nil, 122, []string{"error: start the guest: cont: no way"}},
		{"it hangs up on a ready guest", h.ready + "; on stop close", "", func(_ *testing.T, v *test.VM) { v.WaitReady(); h.Mvm("pause", v.Name) }, 122, []string{"error: QEMU is out of control: .*"}},
		{"it is killed", h.ready, "", kill(syscall.SIGKILL), 122, []string{"error: .*killed.*"}},
		{"it is stopped", h.ready, short, func(t *testing.T, v *test.VM) { kill(syscall.SIGSTOP)(t, v); v.Signal(syscall.SIGTERM) }, 124, []string{"error: .*SIGKILL ended it", "hint: .*"}},
		{"it floods events", h.ready + "; flood", "", stop("ready after"), 0, nil},
		{"it floods the console after its guest's end", h.ready + "; console-flood; on quit silence; on system_powerdown silence", short, stop("ready after"), 0, nil},
		{"it will not quit", "agent silent; on quit error GenericError busy; sigterm ignore", "", stop("runs as process"), 0, nil},
		{"its agent is silent", "agent silent", short, nil, 123, []string{"error: the guest was not ready within 1s", "hint: .*"}},
		{"its agent talks garbage", "agent garbage", short, nil, 123, []string{"error: the guest was not ready within 1s", "hint: .*"}},
		{"its agent floods", "agent flood", short, nil, 123, []string{"error: the guest was not ready within 1s", "hint: .*"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := fmt.Sprintf("fault%d", i)
			v := h.start(t, name, tt.script, tt.more)
			if tt.act != nil {
				tt.act(t, v)
			}
			e := v.Wait()
			checkEnd(t, e, tt.code, tt.want...)
			h.nothingLeft(t, name)
			if t.Failed() {
				t.Logf("mvm said:\n%s", e.Stderr)
			}
		})
	}
}

// rounds is how often the slow faults are tried. scripts/faults raises it.
var rounds = flag.Int("rounds", 3, "how often faults of real guests are tried")

// TestStopAtRandomMoments: there is no moment of a real boot at which a stop
// leaves anything behind.
func TestStopAtRandomMoments(t *testing.T) {
	h := host(t)
	definition := define(t, h, "random", "")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range *rounds {
		after := time.Duration(r.Int64N(int64(4 * time.Second)))
		v := h.Start(definition)
		v.Await("store disk") // it is under way
		time.Sleep(after)
		v.Signal(syscall.SIGTERM)
		if e := v.Wait(); e.Code != 0 || strings.Count(e.Stderr, "random: stopped\n") != 1 {
			t.Errorf("round %d, SIGTERM after %v: mvm run = %d; want 0 and one word that it stopped:\n%s", i, after, e.Code, e.Stderr)
		}
		if _, err := os.Lstat(h.Dirs().Machine("random").Runtime); err == nil {
			t.Errorf("round %d, SIGTERM after %v: the run-time directory is left", i, after)
		}
	}
}

// TestStopWhileItReboots: nor at which one of a reboot does.
func TestStopWhileItReboots(t *testing.T) {
	h := host(t)
	definition := define(t, h, "spins", fmt.Sprintf("restart = \"on-reboot\"\nrestartLimit = 0\ninit = [%q, \"sh\", \"-c\", \"%[1]s sleep 1; %[1]s reboot -f\"]\n", busybox(t)))
	for i := range *rounds {
		after := rand.N(2 * time.Second)
		v := h.Start(definition)
		v.Await(": resetting the machine")
		time.Sleep(after)
		v.Signal(syscall.SIGTERM)
		if e := v.Wait(); e.Code != 0 || len(errorsOf(e.Stderr)) != 0 {
			t.Errorf("round %d, SIGTERM %v after a reboot: mvm run = %d; want 0 and no error:\n%s", i, after, e.Code, e.Stderr)
		}
		if _, err := os.Lstat(h.Dirs().Machine("spins").Runtime); err == nil {
			t.Errorf("round %d, SIGTERM %v after a reboot: the run-time directory is left", i, after)
		}
	}
}

// TestHungQEMU: a real QEMU that is stopped in its tracks is killed, and mvm says
// what it took.
func TestHungQEMU(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "hung", "stopTimeout = \"1s\""))
	v.WaitReady()
	if err := syscall.Kill(v.Status().QEMU, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if e := h.Mvm("status", "hung"); e.Code != 0 { // which does not ask QEMU
		t.Errorf("mvm status = %d; want 0\n%s", e.Code, e.Stderr)
	}
	if up := metric(t, h, "hung", "mvm_qmp_up"); up != 0 {
		t.Errorf("mvm_qmp_up = %v; want 0", up)
	}
	v.Signal(syscall.SIGTERM)
	checkEnd(t, v.Wait(), 124, "error: .*SIGKILL ended it", "hint: raise stopTimeout.*")
}

// TestMetricsOfARealGuest: what it read is counted.
func TestMetricsOfARealGuest(t *testing.T) {
	h := host(t)
	v := h.Start(define(t, h, "counted", ""))
	v.WaitReady()
	for _, m := range []string{
		"mvm_qmp_up", "mvm_ready_seconds", "mvm_qemu_cpu_seconds_total", "mvm_qemu_resident_memory_bytes",
		"mvm_disk_read_bytes_total", "mvm_supervisor_resident_memory_bytes",
	} {
		if got := metric(t, h, "counted", m); got <= 0 {
			t.Errorf("%s = %v; want more than 0", m, got)
		}
	}
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
}
