package qemu

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestPrivilegesAreThoseThatTheMachineNeeds(t *testing.T) {
	forward := func(port uint16) []NIC {
		return []NIC{{User: &UserNet{HostForwards: []HostForward{{HostPort: port, GuestPort: 80}}}}}
	}
	tests := []struct {
		name string
		m    Machine
		root bool
		want []Privilege
	}{
		{"nothing", Machine{}, true, nil},
		{"disks", Machine{Drives: []Drive{{ID: "a", Path: "/a", Writable: true}}}, true, nil},
		{"a high port", Machine{NICs: forward(1024)}, true, nil},
		{"a low port", Machine{NICs: forward(80)}, false, []Privilege{{unix.CAP_NET_BIND_SERVICE, "interfaces[0]"}}},
		{"a read-only share", Machine{Shares: []Share{{Tag: "a", Path: "/a"}}}, true, []Privilege{{unix.CAP_DAC_READ_SEARCH, "shares[0]"}}},
		{"a share as somebody", Machine{Shares: []Share{{Tag: "a", Path: "/a", Writable: true}}}, false, nil},
		{"a share by virtiofs", Machine{Shares: []Share{{Tag: "a", SocketFile: "a"}}}, true, nil},
		{"a share", Machine{Shares: []Share{{Tag: "a", Path: "/a", Writable: true, Why: "b"}, {Tag: "b", Path: "/b", Writable: true}}}, true, []Privilege{
			{unix.CAP_CHOWN, "b"}, {unix.CAP_DAC_OVERRIDE, "b"}, {unix.CAP_FOWNER, "b"}, {unix.CAP_FSETID, "b"},
		}},
		{"taps of ours", Machine{NICs: []NIC{{Tap: &TapNet{Files: []string{"a"}}}}}, true, nil},
		{"a device", Machine{Devices: []HostDevice{{PCI: "0000:01:00.0"}}}, false, []Privilege{{unix.CAP_IPC_LOCK, "devices[0]"}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.m.Privileges(tt.root)); diff != "" {
			t.Errorf("%s: Privileges(%v) (-want +got):\n%s", tt.name, tt.root, diff)
		}
	}
}

// TestQEMUGivesItsPrivilegesAway starts the real one as root and as somebody
// else, and reads what the kernel says of it. A file that this process holds
// without need is not passed on.
func TestQEMUGivesItsPrivilegesAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has privileges to give away: run as root")
	}
	leaked, err := unix.Dup(1) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	low := []NIC{{User: &UserNet{HostForwards: []HostForward{{HostPort: 1023, GuestPort: 80}}}}}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534}}
	tests := []struct {
		name string
		m    Machine
		cred *syscall.Credential
		uid  string
		caps string // of every kind but the ambient
		amb  string
	}{
		{"root", Machine{}, nil, "0", "0000000000000000", "0000000000000000"},
		{"nobody", Machine{}, nobody, "65534", "0000000000000000", "0000000000000000"},
		{"root on a low port", Machine{NICs: low}, nil, "0", "0000000000000400", "0000000000000000"},
		{"nobody on a low port", Machine{NICs: low}, nobody, "65534", "0000000000000400", "0000000000000400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := startReal(t, tt.m, StartOptions{Credential: tt.cred})
			if err := p.QMP().Cont(limited(t)); err != nil { // past the start of its threads
				t.Fatal(err)
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]string{
				"Uid": tt.uid, "CapPrm": tt.caps, "CapEff": tt.caps, "CapBnd": tt.caps, "CapAmb": tt.amb,
				"NoNewPrivs": "1", "Seccomp": "2",
			} {
				m := regexp.MustCompile(`(?m)^` + key + `:\s+(\S+)`).FindSubmatch(status)
				if m == nil || string(m[1]) != want {
					t.Errorf("%s = %s; want %s", key, m, want)
				}
			}
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID()))
			if err != nil || !regexp.MustCompile(`Max core file size +0 `).Match(limits) {
				t.Errorf("its limits are %v\n%s; want no core", err, limits)
			}
			if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.PID(), leaked)); err == nil {
				if own, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", leaked)); to == own {
					t.Errorf("its descriptor %d is %s, which it was not given", leaked, to)
				}
			}
			if err := p.QMP().Quit(limited(t)); err != nil {
				t.Error(err)
			}
			if err := p.Wait(limited(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNothingElseRunsOnAConfinedThread: what takes QEMU's privileges away must
// not take this program's.
func TestNothingElseRunsOnAConfinedThread(t *testing.T) {
	for range 20 {
		c, err := startChild(exec.Command("/bin/true"), func() error { return confine(nil) })
		if err != nil {
			t.Fatal(err)
		}
		<-c.done
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		f, err := os.Open("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			continue // it has just ended
		}
		status, _ := io.ReadAll(f)
		f.Close()
		if strings.Contains(string(status), "NoNewPrivs:\t1") && !strings.Contains(ownStatus(t), "NoNewPrivs:\t1") {
			t.Errorf("thread %s is confined and still there", task.Name())
		}
	}
}

func ownStatus(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
