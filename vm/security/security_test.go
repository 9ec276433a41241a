package security

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadSeesWhatThisProcessHasOpen by opening it.
func TestReadSeesWhatThisProcessHasOpen(t *testing.T) {
	dir := t.TempDir()
	writable, readable := filepath.Join(dir, "with space"), filepath.Join(dir, "readable")
	for _, path := range []string{writable, readable} {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if path == readable {
			f.Close()
			if f, err = os.Open(path); err != nil {
				t.Fatal(err)
			}
		}
		defer f.Close()
	}
	socket := filepath.Join(dir, "socket")
	var want []string
	for _, at := range [][2]string{{"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"unix", socket}} {
		l, err := net.Listen(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		want = append(want, at[0]+" "+l.Addr().String())
	}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	want = append(want, "udp "+u.LocalAddr().String())

	p, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(p.Writable, writable) || slices.Contains(p.Writable, readable) {
		t.Errorf("Writable = %q; want %q and not %q", p.Writable, writable, readable)
	}
	for _, w := range want {
		if !slices.Contains(p.Listening, w) {
			t.Errorf("Listening = %q; want %q", p.Listening, w)
		}
	}
	if p.UID != os.Geteuid() || p.GID != os.Getegid() || !slices.Equal(p.Args, os.Args) {
		t.Errorf("Read() = %+v; want user %d, group %d, arguments %q", p, os.Geteuid(), os.Getegid(), os.Args)
	}
}

func TestTreeHasTheChildren(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 100 & wait")
	stdin, err := cmd.StdinPipe() // held open
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		tree, _ := Tree(cmd.Process.Pid)
		for _, p := range tree {
			if p, err := os.FindProcess(p.PID); err == nil {
				_ = p.Kill()
			}
		}
		_ = cmd.Wait()
	}()
	for { // until the shell has started it
		tree, err := Tree(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if len(tree) == 2 && slices.Equal(tree[1].Args, []string{"sleep", "100"}) {
			return
		}
	}
}

// TestWhatIsOpenCanBeHidden: process 1 is root's, and its files are.
func TestWhatIsOpenCanBeHidden(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("nothing is hidden from root: run as somebody else")
	}
	p, err := Read(1)
	if err != nil || !p.Hidden || p.Writable == nil || p.Listening == nil {
		t.Errorf("Read(1) = %+v, %v; want hidden files and no error", p, err)
	}
}

func TestThereMustBeAProcess(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if p, err := Read(cmd.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() of an ended process = %+v, %v; want fs.ErrNotExist", p, err)
	}
}

func TestStatus(t *testing.T) {
	text := "Name:\tqemu\nUid:\t1000\t1001\t1001\t1001\nGid:\t5\t6\t6\t6\nGroups:\t6 104 \n" +
		"CapInh:\t0000000000000000\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t8000000000000000\n" +
		"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"
	p := new(Process)
	if err := p.status(parseStatus([]byte(text))); err != nil {
		t.Fatal(err)
	}
	if n := len(p.Bounding); n != 41 || p.Bounding[40] != "cap_checkpoint_restore" {
		t.Errorf("Bounding has %d, the last %s; want 41, cap_checkpoint_restore", n, p.Bounding[n-1])
	}
	p.Bounding = nil
	want := &Process{
		UID: 1001, GID: 6, Groups: []int{6, 104}, Seccomp: "filter", Filters: 3, NoNewPrivs: true,
		Capabilities: []string{"cap_net_bind_service", "cap_63"},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if err := new(Process).status(map[string]string{"Uid": "x"}); err == nil {
		t.Error("a status that is none has no error")
	}
}

func TestParseAddress(t *testing.T) {
	tests := []struct{ in, want string }{
		{"0100007F:0050", "127.0.0.1:80"},
		{"00000000:1F90", "0.0.0.0:8080"},
		{"00000000000000000000000001000000:0016", "[::1]:22"},
		{"B80D0120000000000000000001000000:01BB", "[2001:db8::1]:443"},
	}
	for _, tt := range tests {
		if got, err := parseAddress(tt.in); got.String() != tt.want || err != nil {
			t.Errorf("parseAddress(%q) = %v, %v; want %s", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", ":", "0100007F", "0100007F:", "01:50", "0100007F:10000", "x100007F:0050"} {
		if got, err := parseAddress(in); err == nil {
			t.Errorf("parseAddress(%q) = %v; want an error", in, got)
		}
	}
}
