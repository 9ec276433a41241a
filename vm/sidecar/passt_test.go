package sidecar_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
)

var guestMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x2a}

func passt(t *testing.T) *sidecar.PasstProgram {
	t.Helper()
	p, err := sidecar.FindPasst("")
	if err != nil {
		t.Fatalf("%v (install passt)", err)
	}
	return p
}

// freePort returns a port of 127.0.0.1 that is free by both protocols.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			u.Close()
			return uint16(port)
		}
	}
	t.Fatal("no free port")
	return 0
}

func TestGuestHasNetworkByPasst(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	in, tcp := freePort(t), freePort(t)
	h, conn, err := passt(t).Start(t.Context(), sidecar.Passt{Interface: "net0", MAC: guestMAC, Forwards: []sidecar.Forward{
		{HostAddr: loopback, HostPort: in, GuestPort: 7},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", h.Name(), h.Stderr())
		}
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})

	d, err := sidecar.FindVirtiofsd(t.Context(), "")
	if err != nil {
		t.Fatalf("%v (install qemu-system-common or virtiofsd)", err)
	}
	m, files, _ := shares(t, d, sidecar.Virtiofsd{Share: "store", Source: makeStore(t), ReadOnly: true})
	m.NICs = []qemu.NIC{{MAC: guestMAC.String(), Stream: &qemu.StreamNet{File: "passt"}}}
	files["passt"] = conn
	g := boot(t, m, map[string]string{"store": "/nix/store"}, files)

	// The guest asks by DHCP; busybox leaves it to a script to act on it.
	g.want("ip link set eth0 up && udhcpc -q -n -f -i eth0 -s /bin/none 2>&1 | while read a; do case $a in *obtained*) echo ok;; esac; done", "ok")
	g.want("ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2", "")

	// From the guest to the host, by both protocols.
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", tcp))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "out by TCP") })}
	go server.Serve(l)
	defer server.Close()
	g.want(fmt.Sprintf("wget -q -O - http://10.0.2.2:%d/", tcp), "out by TCP")
	u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", tcp))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		var b [100]byte
		for {
			_, from, err := u.ReadFrom(b[:])
			if err != nil {
				return
			}
			u.WriteTo([]byte("\x00\x03\x00\x01out by UDP"), from) // TFTP's first and last block
		}
	}()
	g.want(fmt.Sprintf("cd /; tftp -g -r file 10.0.2.2 %d; cat file", tcp), "out by UDP")

	// And from the host into the guest.
	g.want("(nc -l -p 7 -e cat >/dev/null 2>&1 &) ; sleep 1", "")
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", in))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "in by TCP"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); string(b[:n]) != "in by TCP" {
		t.Errorf("the guest's echo = %q, %v; want what was sent", b[:n], err)
	}

	if err := g.proc.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-h.Done():
	case <-time.After(bootLimit):
		t.Error("passt outlives QEMU")
	}
}

func TestPasstForwardsUDP(t *testing.T) {
	port := freePort(t)
	h, conn, err := passt(t).Start(t.Context(), sidecar.Passt{Interface: "net0", MAC: guestMAC, Forwards: []sidecar.Forward{
		{HostAddr: netip.MustParseAddr("127.0.0.1"), HostPort: port, GuestPort: 9, UDP: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Stop(context.Background())
	defer conn.Close()
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "in by UDP"); err != nil {
		t.Fatal(err)
	}
	// What a guest would see on its card: frames, each after its length.
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			t.Fatal(err)
		}
		const ipv4, udp = "\x08\x00\x45", 17
		if len(frame) < 42 || string(frame[12:15]) != ipv4 || frame[23] != udp {
			continue
		}
		to, data := binary.BigEndian.Uint16(frame[36:]), string(frame[42:])
		if string(frame[:6]) != string(guestMAC) || to != 9 || data != "in by UDP" {
			t.Errorf("the frame for %x, port %d holds %q; want %x, 9, what was sent", frame[:6], to, data, guestMAC)
		}
		return
	}
}

func TestPasstSaysThatAPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	h, conn, err := passt(t).Start(t.Context(), sidecar.Passt{Interface: "net0", MAC: guestMAC, Forwards: []sidecar.Forward{
		{HostAddr: netip.MustParseAddr("127.0.0.1"), HostPort: port, GuestPort: 80},
	}})
	if err == nil {
		conn.Close()
		h.Stop(t.Context())
		t.Fatalf("Start() = nil; want an error; passt wrote: %s", h.Stderr())
	}
	he := (*sidecar.HostError)(nil)
	if !errors.As(err, &he) || !strings.HasPrefix(he.Hint, "stop the program that has the port") {
		t.Errorf("Start() = %v; want a HostError about the port", err)
	}
}

func TestTwentyPasstsLeaveNothing(t *testing.T) {
	p := passt(t)
	var fds int
	for i := range 21 {
		n := sidecar.Passt{Interface: "net0", MAC: guestMAC}
		if i%2 == 1 {
			n.Redirects = []sidecar.Redirect{{From: netip.MustParseAddrPort("10.0.2.10:80"), To: netip.MustParseAddrPort("127.0.0.1:80")}}
		}
		h, conn, err := p.Start(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if i%4 > 1 { // it ends with its socket, too
			<-h.Done()
		}
		if err := h.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			fds = len(list)
		} else if len(list) > fds {
			t.Fatalf("after %d starts %d files are open; want %d", i+1, len(list), fds)
		}
	}
}
