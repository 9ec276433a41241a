package test_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/vm/control"
)

// hook makes the guest leave a line on its volume when its init shuts it down.
const hook = `sed -i '1i null::shutdown:/bin/sh -c "echo ended >>/data/hook; sync"' /etc/inittab && kill -HUP 1`

// shutIn is what docs/systemd.md proposes for a machine without shares and taps.
const shutIn = `[Service]
CapabilityBoundingSet=
RestrictNamespaces=yes
SystemCallFilter=~@mount
ProtectHome=read-only
`

// TestSystemdRunsMachines has a real systemd run machines: from its boot to its end.
func TestSystemdRunsMachines(t *testing.T) {
	h := host(t)
	p := newPID1(t, h)
	base := fmt.Sprintf("toplevel = %q\nmem = 256\n", example(t))
	p.write("/etc/mvm/web.toml", base+`autostart = true
registerWithMachined = true
restart = "on-failure"
[[volumes]]
image = "data.img"
size = 16
mountPoint = "/data"`)
	p.write("/etc/mvm/shut-in.toml", base+"autostart = true\nrestart = \"on-failure\"\n")
	p.write("/etc/systemd/system/mvm@shut-in.service.d/more.conf", shutIn+"WatchdogSec=10\n")
	p.write("/srv/hand.toml", base+"registerWithMachined = true\n")
	p.write("/srv/never.toml", base+"readyTimeout = \"500ms\"\n")
	p.boot("mvm systemd install")

	p.step("machines start with the host", func(t *testing.T) {
		for _, name := range []string{"web", "shut-in"} {
			unit := "mvm@" + name
			if got := p.show(unit, "ActiveState"); got != "active" {
				t.Fatalf("%s is %s; want active", unit, got)
			}
			if got := p.show(unit, "StatusText"); !strings.HasPrefix(got, "ready after ") {
				t.Errorf("its status is %q; want when it was ready", got)
			}
			active, err := time.Parse("Mon 2006-01-02 15:04:05.999999 MST", p.show(unit, "ActiveEnterTimestamp"))
			if err != nil {
				t.Fatal(err)
			}
			// systemd keeps microseconds only.
			if ready := readyAt(t, p, name); active.Add(time.Microsecond).Before(ready) {
				t.Errorf("%s was active at %v, but ready at %v", unit, active, ready)
			}
		}
		if got := p.show("mvms.target", "ActiveState"); got != "active" {
			t.Errorf("mvms.target is %s; want active", got)
		}
	})

	p.step("a guest does not choose its level", func(t *testing.T) {
		p.must("mvm", "exec", "web", "--", "sh", "-c", `printf '\r\n<0>fire\r\n' >/dev/console`)
		p.until("the line is in the journal", func() bool { return strings.Contains(p.must("journalctl", "-u", "mvm@web", "-o", "cat"), "fire") })
		for line := range strings.Lines(p.must("journalctl", "-u", "mvm@web", "-o", "json", "-g", "fire")) {
			var entry struct{ MESSAGE, PRIORITY, SYSLOG_IDENTIFIER string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if entry.MESSAGE != "<0>fire" || entry.PRIORITY != "6" || entry.SYSLOG_IDENTIFIER != "mvm-web" {
				t.Errorf("the journal has %+v; want the line as it was written, with level 6", entry)
			}
		}
	})

	p.step("restart ends the guest gently", func(t *testing.T) {
		p.must("mvm", "exec", "web", "--", "sh", "-c", hook)
		p.must("systemctl", "restart", "mvm@web")
		if got := p.must("mvm", "exec", "web", "--", "cat", "/data/hook"); got != "ended\n" {
			t.Errorf("the guest's own shutdown left %q; want one line", got)
		}
	})

	p.step("a crash of QEMU restarts the guest, not the unit", func(t *testing.T) {
		began := p.show("mvm@web", "ExecMainStartTimestamp")
		p.must("kill", "-KILL", strconv.Itoa(status(t, p, "web").QEMU))
		p.until("the guest is ready again", func() bool {
			s := status(t, p, "web")
			return s.Restarts == 1 && s.State == control.Ready
		})
		if got := p.show("mvm@web", "ExecMainStartTimestamp"); got != began {
			t.Error("systemd has started mvm again")
		}
	})

	p.step("a crash of mvm restarts the unit", func(t *testing.T) {
		p.must("kill", "-KILL", p.show("mvm@web", "MainPID"))
		p.until("the unit is active again", func() bool {
			return p.show("mvm@web", "NRestarts") == "1" && p.show("mvm@web", "ActiveState") == "active"
		})
		p.must("mvm", "exec", "web", "--", "true")
	})

	p.step("a QEMU that hangs is found out", func(t *testing.T) {
		p.must("kill", "-STOP", strconv.Itoa(status(t, p, "shut-in").QEMU))
		p.until("the unit is active again", func() bool {
			return p.show("mvm@shut-in", "NRestarts") == "1" && p.show("mvm@shut-in", "ActiveState") == "active"
		})
		out := p.must("journalctl", "-u", "mvm@shut-in", "-o", "cat")
		for _, want := range []string{"Watchdog timeout", "mvm: shut-in: QEMU has not answered for 2.5s"} {
			if !strings.Contains(out, want) {
				t.Errorf("the journal does not say %q:\n%s", want, out)
			}
		}
	})

	p.step("machinectl knows the machine and ends it", func(t *testing.T) {
		checkMachine(t, p, "web", "mvm@web.service")
		p.must("mvm", "exec", "web", "--", "sh", "-c", hook)
		p.must("machinectl", "terminate", "web")
		p.until("the unit is inactive", func() bool { return p.show("mvm@web", "ActiveState") == "inactive" })
		if out := p.must("machinectl", "list", "--no-legend"); strings.Contains(out, "web") {
			t.Errorf("machinectl still lists it:\n%s", out)
		}
		p.must("systemctl", "start", "mvm@web")
		if got := p.must("mvm", "exec", "web", "--", "cat", "/data/hook"); got != "ended\nended\n" {
			t.Errorf("the guest's own shutdown left %q; want a second line", got)
		}

		// What else runs in the unit is none of machined's business.
		p.must("systemd-run", "--unit=by-hand", "--property=RemainAfterExit=yes", "sh", "-c", "mvm run /srv/hand.toml; echo $? >/run/status; sleep 1000")
		p.until("the guest is ready", func() bool {
			out, err := p.run("mvm", "status", "--json", "hand")
			return err == nil && strings.Contains(out, `"ready"`)
		})
		checkMachine(t, p, "hand", "machine-hand.scope")
		p.must("machinectl", "terminate", "hand")
		p.until("mvm has ended", func() bool { out, _ := p.run("cat", "/run/status"); return out == "0\n" })
		if got := p.must("mvm", "why", "hand"); !strings.Contains(got, "stopped") {
			t.Errorf("mvm why says %q; want that it was stopped", got)
		}
		if got := p.show("by-hand", "SubState"); got != "running" {
			t.Errorf("the unit that mvm ran in is %s; want it running", got)
		}
		p.must("systemctl", "stop", "by-hand")
	})

	p.step("stop ends the guest gently", func(t *testing.T) {
		p.must("mvm", "exec", "web", "--", "sh", "-c", hook)
		p.must("systemctl", "stop", "mvm@web")
		if state, result := p.show("mvm@web", "ActiveState"), p.show("mvm@web", "Result"); state != "inactive" || result != "success" {
			t.Errorf("the unit is %s, %s; want inactive, success", state, result)
		}
		debugfs, err := exec.LookPath("debugfs")
		if err != nil {
			debugfs = "/sbin/debugfs" // of e2fsprogs, as is the mkfs that made the volume
		}
		out, err := exec.Command(debugfs, "-R", "cat /hook", filepath.Join(p.upper, "var/lib/mvm/web/data.img")).Output()
		if string(out) != "ended\nended\nended\n" {
			t.Errorf("the volume has %q, %v; want a third line of the guest's own shutdown", out, err)
		}
	})

	p.step("a guest that is never ready fails its unit", func(t *testing.T) {
		p.must("mvm", "systemd", "install", "/srv/never.toml")
		if out, err := p.run("systemctl", "start", "mvm@never"); err == nil {
			t.Errorf("systemctl start succeeded:\n%s", out)
		}
		if state, code := p.show("mvm@never", "ActiveState"), p.show("mvm@never", "ExecMainStatus"); state != "failed" || code != "123" {
			t.Errorf("the unit is %s, %s; want failed, 123", state, code)
		}
		if out := p.must("journalctl", "-u", "mvm@never", "-p", "err", "-o", "cat"); !strings.Contains(out, "mvm: error: the guest was not ready within 500ms\n") {
			t.Errorf("the journal's errors do not have the reason:\n%s", out)
		}
	})

	p.step("the host's end is a gentle end", func(t *testing.T) {
		p.must("systemctl", "poweroff", "--no-wall")
		<-p.ended
		b, err := os.ReadFile(filepath.Join(p.upper, "var/lib/mvm/shut-in/exit.json"))
		var exit control.Exit
		if err == nil {
			err = json.Unmarshal(b, &exit)
		}
		if err != nil || exit.Reason != control.Stopped || exit.Rung != "agent" {
			t.Errorf("the last exit is %+v, %v; want one that the guest's agent brought about", exit, err)
		}
	})
}

// checkMachine checks what machined says of a machine.
func checkMachine(t *testing.T, p *pid1, name, unit string) {
	t.Helper()
	out := p.must("machinectl", "show", name, "-p", "Class", "-p", "Leader", "-p", "Service", "-p", "Unit")
	want := fmt.Sprintf("Class=vm\nLeader=%d\nService=mvm\nUnit=%s\n", status(t, p, name).QEMU, unit)
	got := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(got)
	if diff := cmp.Diff(want, strings.Join(got, "\n")+"\n"); diff != "" {
		t.Errorf("machinectl show %s (-want +got):\n%s", name, diff)
	}
}

// status is a machine of the system's.
func status(t *testing.T, p *pid1, name string) control.Status {
	t.Helper()
	var s control.Status
	if out := p.must("mvm", "status", "--json", name); json.Unmarshal([]byte(out), &s) != nil {
		t.Fatalf("mvm status --json says %s", out)
	}
	return s
}

// readyAt is when a machine of the system's said that it was ready.
func readyAt(t *testing.T, p *pid1, name string) time.Time {
	t.Helper()
	out, _ := p.run("timeout", "1", "mvm", "events", name) // it would go on for ever
	for line := range strings.Lines(out) {
		var e control.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.State == control.Ready {
			return e.Time
		}
	}
	t.Fatalf("%s was never ready:\n%s", name, out)
	return time.Time{}
}
