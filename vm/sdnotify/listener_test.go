//go:build hostguest

package sdnotify

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// say sends a message from this host to itself, by the module vsock_loopback, and
// waits until it was taken.
func say(t *testing.T, l *Listener, text string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_LOCAL, Port: l.port}); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Write(fd, []byte(text)) // the listener may have hung up
	_ = unix.Shutdown(fd, unix.SHUT_WR)
	for {
		if n, err := unix.Read(fd, make([]byte, 1)); n <= 0 || err != nil {
			return
		}
	}
}

// TestListener runs in the guest of test's TestHostInAGuest.
func TestListener(t *testing.T) {
	heard := func(l *Listener) chan []Message {
		all := make(chan []Message, 1)
		go func() {
			var list []Message
			for m := range l.Messages() {
				list = append(list, m)
			}
			all <- list
		}()
		return all
	}
	mine, err := Listen(unix.VMADDR_CID_LOCAL)
	if err != nil {
		t.Fatal(err)
	}
	others, err := Listen(42)
	if err != nil {
		t.Fatal(err)
	}
	if mine.Address() == others.Address() {
		t.Errorf("two listeners are both at %s", mine.Address())
	}
	fromMe, fromOthers := heard(mine), heard(others)
	say(t, mine, "X_SYSTEMD_UNIT_ACTIVE=a.target")
	say(t, others, "READY=1")
	say(t, mine, "")
	say(t, mine, "READY=1\n")
	for _, l := range []*Listener{mine, others} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]Message{{Unit: "a.target"}, {}, {Ready: true}}, <-fromMe); diff != "" {
		t.Errorf("messages of the guest's own (-want +got):\n%s", diff)
	}
	if got := <-fromOthers; got != nil {
		t.Errorf("messages of another guest's are believed: %+v", got)
	}
}
