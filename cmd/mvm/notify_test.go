package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/control"
)

// manager is a service manager's socket, and what its environment says of it.
func manager(t *testing.T, environ map[string]string) (*net.UnixConn, *notifier) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	getenv := func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return path
		}
		return environ[name]
	}
	limit := vm.Duration(10 * time.Second)
	return conn, newNotifier(env{getenv: getenv}, &vm.Config{Name: "myvm", ReadyTimeout: &limit, StopTimeout: &limit})
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil { // against hanging
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestAManagerHearsOfALife(t *testing.T) {
	conn, n := manager(t, map[string]string{"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())})
	var seen []string
	o := vm.Options{Event: func(e control.Event) { seen = append(seen, e.Message) }}
	n.attach(&o)
	if o.PulseEvery != 750*time.Millisecond {
		t.Errorf("PulseEvery = %v; want a quarter of the watchdog's time", o.PulseEvery)
	}
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { o.Event(control.Event{State: control.Building, Message: "looking"}) }, "STATUS=looking\nEXTEND_TIMEOUT_USEC=120000000"},
		{func() { o.Progress(storedisk.Progress{Stage: "writing"}) }, "STATUS=store disk: writing\nEXTEND_TIMEOUT_USEC=120000000"},
		{func() { o.Event(control.Event{State: control.Starting, Message: "a\nb"}) }, "STATUS=a; b\nEXTEND_TIMEOUT_USEC=90000000\nWATCHDOG=1"},
		{func() { o.Event(control.Event{State: control.Booting, Message: "boots"}) }, "STATUS=boots\nEXTEND_TIMEOUT_USEC=40000000\nWATCHDOG=1"},
		{func() { o.Event(control.Event{State: control.Ready, Message: "ready"}) }, "READY=1\nSTATUS=ready"},
		{o.Pulse, "WATCHDOG=1"},
		{func() { o.Event(control.Event{State: control.Stopping, Message: "helper died"}) }, "STATUS=helper died\nEXTEND_TIMEOUT_USEC=40000000"},
		{o.Asked, "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000"},
		{func() { o.Event(control.Event{State: control.Exited, Message: "stopped"}) }, "STOPPING=1\nSTATUS=stopped"},
	} {
		step.do()
		if diff := cmp.Diff(step.want, heard(t, conn)); diff != "" {
			t.Errorf("the manager heard (-want +got):\n%s", diff)
		}
	}
	if want := []string{"looking", "a\nb", "boots", "ready", "helper died", "stopped"}; !cmp.Equal(seen, want) {
		t.Errorf("who heard events before heard %q; want %q", seen, want)
	}
}

func TestProgressDoesNotFloodTheManager(t *testing.T) {
	conn, n := manager(t, nil)
	now := time.Now()
	for i := range 100 {
		n.progress(storedisk.Progress{Stage: strconv.Itoa(i)}, now.Add(time.Duration(i)*time.Second/10))
	}
	for _, want := range []string{"0", "50"} {
		if got := heard(t, conn); got != "STATUS=store disk: "+want+"\nEXTEND_TIMEOUT_USEC=120000000" {
			t.Errorf("the manager heard %q; want stage %s", got, want)
		}
	}
	n.send("END=1")
	if got := heard(t, conn); got != "END=1" {
		t.Errorf("the manager heard %q; want no third report in ten seconds", got)
	}
}

// TestADeafManager: one that never reads is left behind, however much there is
// to say.
func TestADeafManager(t *testing.T) {
	conn, n := manager(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // against hanging
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// More than net.unix.max_dgram_qlen, and a few that have to wait.
		qlen, _ := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
		most, _ := strconv.Atoi(string(qlen[:max(0, len(qlen)-1)]))
		for range most + 3 {
			n.send("STATUS=hello")
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("a manager that does not read keeps mvm waiting")
		conn.Close()
		<-done
	}
}

func TestNobodyToNotify(t *testing.T) {
	limit := map[string]string{"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
	if _, n := manager(t, limit); n.watchdog != 0 {
		t.Errorf("watchdog = %v; want none, since it is process 1's", n.watchdog)
	}
	var o vm.Options
	newNotifier(env{getenv: func(string) string { return "" }}, &vm.Config{Name: "myvm"}).attach(&o)
	if o.Event != nil || o.Pulse != nil || o.Asked != nil {
		t.Error("without a manager the notifier still listens")
	}
}
