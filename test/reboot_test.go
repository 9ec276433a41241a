package test_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
)

// TestRebootInPlace: a guest that reboots, and one that is reset, starts over in
// the same QEMU, with the same helpers, tap and volumes; what it mounts is compared
// with the plan each time.
func TestRebootInPlace(t *testing.T) {
	for _, machine := range []string{"microvm", "q35"} {
		t.Run(machine, func(t *testing.T) {
			ns := namespace(t)
			h := host(t)
			shared := filepath.Join(h.Dir, "shared")
			if err := os.Mkdir(shared, 0o755); err != nil {
				t.Fatal(err)
			}
			definition := define(t, h, "again", fmt.Sprintf("qemu.machine = %q\nrestart = \"on-reboot\"\n", machine)+
				"[[volumes]]\nimage = \"data.img\"\nsize = 16\nmountPoint = \"/data\"\n"+
				"[[interfaces]]\ntype = \"tap\"\nid = \"vm-again\"\n"+
				share("virtiofs", "src", shared, "/src"))
			start := h.Command("start", "--wait", definition)
			start.Args = append([]string{"ip", "netns", "exec", ns.name, start.Path}, start.Args[1:]...)
			start.Path = "/usr/sbin/ip"
			if e := run(t, start); e.Code != 0 {
				t.Fatalf("mvm start = %d\n%s", e.Code, e.Stderr)
			}
			defer func() { _ = h.Command("kill", "again").Run() }() // it has ended, unless the test failed
			events := follow(t, h, "again")
			guest := func(script string) string {
				t.Helper()
				e := h.Mvm("exec", "again", "--", "sh", "-c", script)
				if e.Code != 0 {
					t.Errorf("%s in the guest = %d; want 0\n%s", script, e.Code, e.Stderr)
				}
				return e.Stdout
			}
			// What of the host's must stay the same.
			around := func() string {
				t.Helper()
				link := ip(t, "-n", ns.name, "-o", "link", "show", "vm-again")
				s := statusOf(t, h, "again")
				return fmt.Sprintf("supervisor %d, QEMU %d, virtiofsd %d, tap %s", s.PID, s.QEMU, child(t, s.PID, "virtiofsd"), strings.Fields(link)[0])
			}
			// Busybox's init hears nothing before it blocks SIGTERM, to wait for it.
			const listens = `until [ $((0x$(sed -n 's/^SigBlk:[^0-9a-f]*//p' /proc/1/status) >> 14 & 1)) = 1 ]; do sleep 0.1; done; `
			const bootID = "cat /proc/sys/kernel/random/boot_id"
			events.ready()
			host, boot := around(), guest(bootID)
			guest("echo 1 >/data/boots; echo 1 >/src/boots; sync")
			for i, restart := range []func(){
				func() { guest(listens + "reboot") },
				func() {
					if e := h.Mvm("reset", "again"); e.Code != 0 {
						t.Errorf("mvm reset = %d; want 0\n%s", e.Code, e.Stderr)
					}
				},
			} {
				// A command that runs in the guest is lost with it, and does not hang.
				lost := h.Command("exec", "again", "--", "sleep", "1000")
				if err := lost.Start(); err != nil {
					t.Fatal(err)
				}
				restart()
				events.ready()
				if err := lost.Wait(); err == nil {
					t.Error("mvm exec of a command that was lost = 0; want an error")
				}
				if now := around(); now != host {
					t.Errorf("after the restart: %s\nbefore: %s", now, host)
				}
				now := guest(bootID)
				if now == boot {
					t.Error("the guest's boot id is the same: it has not started over")
				}
				boot = now
				if got := guest("cat /data/boots /src/boots; echo 1 >>/data/boots; echo 1 >>/src/boots; sync"); got != strings.Repeat("1\n", 2*(i+1)) {
					t.Errorf("volume and share hold %q", got)
				}
				s := statusOf(t, h, "again")
				if s.Restarts != 1 || s.ReadyAfter <= 0 || len(s.Mounts) == 0 {
					t.Errorf("status = %+v; want one restart, a time to ready, and mounts", s)
				}
				for _, m := range s.Mounts {
					if m.Wrong != "" || m.Mounted == "" {
						t.Errorf("%s: %s", m.Where, m.Wrong)
					}
				}
			}
			if e := h.Mvm("stop", "again"); e.Code != 0 || !strings.HasSuffix(e.Stderr, "again: stopped\n") {
				t.Errorf("mvm stop = %d; want 0 and a guest that powered off\n%s", e.Code, e.Stderr)
			}
			if links := ns.links(); strings.Contains(links, "vm-again") {
				t.Errorf("left behind: the tap\n%s", links)
			}
		})
	}
}

// TestRebootEnds: under a policy without restarts a reboot is an end, and under
// one with restarts a guest that does nothing else is ended by the limit.
func TestRebootEnds(t *testing.T) {
	h := host(t)
	// Ready is said when init runs, and it must be heard.
	init := fmt.Sprintf("init = [%q, \"sh\", \"-c\", \"%[1]s sleep 1; %[1]s reboot -f\"]\n", busybox(t))
	for _, tt := range []struct {
		restart string
		resets  int
		code    int
		want    []string
	}{
		{"never", 0, 0, nil},
		{"on-failure", 2, 120, []string{"error: guest reboot; it was restarted 2 times within 1m0s, which is enough", "hint: find out why it ends .*"}},
	} {
		v := h.Start(define(t, h, "rounds", init+"restartLimit = 2\nrestart = \""+tt.restart+"\"\n"))
		e := v.Wait()
		checkEnd(t, e, tt.code, tt.want...)
		if n := strings.Count(e.Stderr, ": guest reboot: resetting the machine\n"); n != tt.resets {
			t.Errorf("%s: %d resets; want %d\n%s", tt.restart, n, tt.resets, e.Stderr)
		}
		if n := strings.Count(e.Stderr, " runs as process "); n != 1 {
			t.Errorf("%s: QEMU was started %d times; want once\n%s", tt.restart, n, e.Stderr)
		}
	}
}

// TestRebootWithoutReset: a QEMU that cannot do what a reset in place takes is
// started anew for each reboot.
func TestRebootWithoutReset(t *testing.T) {
	const anew = ": QEMU could not be reset, and is started anew: "
	for i, tt := range []struct {
		name, script string
		starts       int
		refusals     int
	}{
		{"it can", "", 1, 0},
		{"it is too old", "on set-action error CommandNotFound no such command", 4, 0},
		{"it does not change the agent's channel", "on chardev-change error GenericError no", 4, 3},
		{"it does not reset", "on system_reset error GenericError no", 4, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFakeHost(t)
			name := fmt.Sprintf("reboots%d", i)
			v := h.start(t, name, h.ready+"; on balloon answer; on balloon reboot; "+tt.script,
				"balloon = true\nrestart = \"on-reboot\"\nrestartLimit = 3\nrestartWindow = \"1h\"\n")
			v.WaitReady()
			events := follow(t, h.Host, name)
			events.ready()
			for range 3 { // each is counted once against the limit
				if e := h.Mvm("balloon", name, "64"); e.Code != 0 {
					t.Fatalf("mvm balloon = %d; want 0\n%s", e.Code, e.Stderr)
				}
				events.ready()
			}
			if s := statusOf(t, h.Host, name); s.Restarts != 3 {
				t.Errorf("%d restarts; want 3", s.Restarts)
			}
			e := v.Stop()
			checkEnd(t, e, 0)
			if n := strings.Count(e.Stderr, " runs as process "); n != tt.starts {
				t.Errorf("QEMU was started %d times; want %d\n%s", n, tt.starts, e.Stderr)
			}
			if n := strings.Count(e.Stderr, anew); n != tt.refusals {
				t.Errorf("%d times %q; want %d\n%s", n, anew, tt.refusals, e.Stderr)
			}
			h.nothingLeft(t, name)
		})
	}
}

// statusOf is the machine as it says itself.
func statusOf(t *testing.T, h *test.Host, name string) control.Status {
	t.Helper()
	var s control.Status
	e := h.Mvm("status", "--json", name)
	if err := json.Unmarshal([]byte(e.Stdout), &s); err != nil || e.Code != 0 {
		t.Fatalf("mvm status = %d, %v\n%s", e.Code, err, e.Stderr)
	}
	return s
}

// A follower reads a machine's events as they come.
type follower struct {
	t     *testing.T
	lines *bufio.Scanner
}

func follow(t *testing.T, h *test.Host, name string) *follower {
	t.Helper()
	cmd := h.Command("events", name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(test.Limit, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		limit.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &follower{t, bufio.NewScanner(out)}
}

// ready returns when the guest has become ready once more.
func (f *follower) ready() {
	f.t.Helper()
	for f.lines.Scan() {
		var e control.Event
		if err := json.Unmarshal(f.lines.Bytes(), &e); err != nil {
			f.t.Fatal(err)
		}
		if strings.HasPrefix(e.Message, "ready after ") {
			return
		}
	}
	f.t.Fatal("no guest became ready")
}
