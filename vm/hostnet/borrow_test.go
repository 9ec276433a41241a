package hostnet

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inSpace puts the goroutine's thread into a network namespace and ends it
// with the goroutine.
func inSpace(t *testing.T, space *os.File) {
	runtime.LockOSThread()
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Error(err)
	}
}

// withoutNetAdmin runs f on a thread that may not make devices, in the caller's
// namespace.
func withoutNetAdmin(t *testing.T, f func()) {
	t.Helper()
	space, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		inSpace(t, space)
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			t.Error(err)
			return
		}
		for i := range data {
			data[i].Inheritable = 0
		}
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		data[0].Permitted &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestTapThatRootHasMadeIsBorrowed(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "br0", "type", "bridge")
	ip(t, "tuntap", "add", "vm0", "mode", "tap", "user", "root", "vnet_hdr", "multi_queue")
	ip(t, "link", "set", "vm0", "master", "br0", "up")
	before := show(t)["vm0"]
	withoutNetAdmin(t, func() {
		d, err := Up(t.Context(), Spec{Name: "vm0", Machine: "web", Queues: 2, Bridge: "br0"})
		if err != nil {
			t.Error(err)
			return
		}
		if q, _, err := d.Files(); err != nil || len(q) != 2 {
			t.Errorf("Files() = %d, %v; want 2", len(q), err)
		} else {
			closeAll(q)
		}
		if err := d.Down(); err != nil {
			t.Error(err)
		}
	})
	after := show(t)["vm0"]
	before.Flags, after.Flags = nil, nil // the carrier comes and goes
	if after.Index != before.Index || after.Alias != before.Alias || after.Info != before.Info || after.Master != "br0" {
		t.Errorf("the tap was %+v and is %+v", before, after)
	}
}

func TestBorrowingSaysWhatRootHasToDo(t *testing.T) {
	inNamespace(t)
	ip(t, "link", "add", "br0", "type", "bridge")
	for name, args := range map[string][]string{
		"single": {"user", "root"}, "other": {"user", "1234"}, "down": {"user", "root"}, "busy": {"user", "root"},
	} {
		ip(t, slices.Concat([]string{"tuntap", "add", name, "mode", "tap", "vnet_hdr"}, args)...)
		if name != "down" {
			ip(t, "link", "set", name, "up")
		}
	}
	busy, err := openQueue("busy", (&Spec{}).tapFlags())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := []struct {
		spec Spec
		is   error
		want string
		hint string
	}{
		{Spec{Name: "vm0", Queues: 2}, unix.EPERM, "make tap vm0: operation not permitted", "run as root, or have root make it: ip tuntap add vm0 mode tap user 0 vnet_hdr multi_queue"},
		{Spec{Name: "single", Queues: 2}, unix.EINVAL, "open tap single: invalid argument", "have root make it for this number of queues: "},
		{Spec{Name: "other"}, unix.EPERM, "open tap other: operation not permitted", "have root make it: ip tuntap add other mode tap user 0 vnet_hdr; "},
		{Spec{Name: "busy"}, ErrTaken, "open tap busy: the name is taken: another process has it open", "stop that process"},
		{Spec{Name: "down"}, nil, "use tap down: it is down", "have root bring it up: ip link set down up"},
		{Spec{Name: "single", Bridge: "br0"}, nil, "use tap single: it is not attached to bridge br0", "have root attach it: ip link set single master br0"},
	}
	withoutNetAdmin(t, func() {
		for _, tt := range tests {
			tt.spec.Machine = "web"
			d, err := Up(t.Context(), tt.spec)
			if err == nil {
				d.Down()
			}
			he := (*HostError)(nil)
			if !errors.As(err, &he) || err.Error() != tt.want || !strings.HasPrefix(he.Hint, tt.hint) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Up(%+v) = %v, %+v; want %s, with the hint %s…", tt.spec, err, he, tt.want, tt.hint)
			}
		}
	})
}
