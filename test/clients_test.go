package test_test

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestAThousandClients: clients that say nothing, that say nonsense, that follow
// and never read, and that begin commands, a thousand at once, hold up neither the
// machine nor who has a question, and nothing of them stays.
func TestAThousandClients(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "many", h.ready+"; console-flood", "")
	v.WaitReady()
	socket := h.Dirs().Machine("many").Socket()
	fds := metric(t, h.Host, "many", "mvm_supervisor_open_fds")
	goroutines := metric(t, h.Host, "many", "mvm_supervisor_goroutines")
	says := []string{
		"",
		"GET /v1/status HTTP/1.1\r\nHost: ", // and no more
		"\xff\xfe nonsense\r\n\r\n",
		"GET /v1/events HTTP/1.1\r\nHost: mvm\r\n\r\n", // and never reads
		"GET /v1/console?tail=100000 HTTP/1.1\r\nHost: mvm\r\n\r\n",
		"GET /v1/console HTTP/1.1\r\nHost: mvm\r\nConnection: Upgrade\r\nUpgrade: mvm-console\r\n\r\n" + strings.Repeat("typed", 1000),
		"POST /v1/exec HTTP/1.1\r\nHost: mvm\r\nUpgrade: mvm-agent\r\n\r\n" + strings.Repeat("junk", 100),
		"POST /v1/monitor HTTP/1.1\r\nHost: mvm\r\nContent-Length: 1000\r\n\r\n{", // and no more
	}
	var conns []net.Conn
	for i := range 1000 {
		conn, err := net.DialTimeout("unix", socket, 10*time.Second)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte(says[i%len(says)])) // it may have been hung up on
	}
	// The next one is answered when it is its turn: those who say nothing make room.
	if n := metric(t, h.Host, "many", "mvm_vcpus"); n != 1 {
		t.Errorf("with a thousand clients mvm_vcpus is %v; want 1", n)
	}
	// Their share of the supervisor is bounded.
	if n := metric(t, h.Host, "many", "mvm_supervisor_open_fds"); n > fds+300 {
		t.Errorf("it has %v descriptors with a thousand clients, and had %v without", n, fds)
	}
	for _, c := range conns {
		c.Close()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		f, g := metric(t, h.Host, "many", "mvm_supervisor_open_fds"), metric(t, h.Host, "many", "mvm_supervisor_goroutines")
		if f >= 0 && f <= fds+1 && g <= goroutines+3 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v descriptors and %v goroutines are left; want %v and %v, as before", f, g, fds, goroutines)
		}
	}
	if e := v.Stop(); e.Code != 0 {
		t.Errorf("mvm run = %d; want 0", e.Code)
	}
	h.nothingLeft(t, "many")
}
