package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The network that a guest sees behind passt is the one of QEMU's own stack, so
// that a machine may have either.
var (
	GuestIPv4   = netip.MustParseAddr("10.0.2.15")
	GatewayIPv4 = netip.MustParseAddr("10.0.2.2") // the host's 127.0.0.1, to the guest
	GuestIPv6   = netip.MustParseAddr("fec0::15")
	GatewayIPv6 = netip.MustParseAddr("fec0::2") // the host's ::1
)

const passtMask = "255.255.255.0"

// A Passt describes the network of one interface, made of the host's sockets by
// passt. The guest is told its IPv4 address, 10.0.2.15, by DHCP, and its IPv6
// address, fec0::15, by DHCPv6, or the prefix of that by router advertisements.
// What it sends to the gateways, 10.0.2.2 and fec0::2, reaches the host's own
// 127.0.0.1 and ::1 at the same port, by TCP and by UDP; passt of 2023 loses what
// ::1 answers by UDP. Its name servers are the host's own, and not, as with
// QEMU's stack, one at 10.0.2.3: a passt that has such a one sends answers from
// there to who asked another (--dns-forward). There is IPv6 only on a host that
// has a default route for it.
type Passt struct {
	// Interface names the interface in messages.
	Interface string

	// MAC is the guest's address.
	MAC net.HardwareAddr

	// Forwards are ports of the host that lead into the guest.
	Forwards []Forward

	// Redirects are places that the guest finds elsewhere. With any of them,
	// all of the guest's packets pass through this process.
	Redirects []Redirect

	// HideHost makes the gateway a mere gateway.
	HideHost bool
}

// A Forward is a port of the host that leads into the guest.
type Forward struct {
	UDP       bool
	HostAddr  netip.Addr // zero means all addresses, of IPv4 and of IPv6
	HostPort  uint16
	GuestPort uint16
}

// A PasstProgram is an installed passt.
type PasstProgram struct {
	Path string
}

// FindPasst finds passt: the program that is named, or the one in PATH. The
// error is a [HostError]; it matches [exec.ErrNotFound] when passt is not
// installed, and QEMU's own network stack is then the way out.
func FindPasst(name string) (*PasstProgram, error) {
	path, err := find(name, "passt", nil, "install passt, or use QEMU's own network stack")
	if err != nil {
		return nil, err
	}
	return &PasstProgram{Path: path}, nil
}

// Args returns passt's arguments, without its name. It speaks Ethernet on the
// connected socket fd.
func (p *PasstProgram) Args(n Passt, fd int) ([]string, error) {
	args := []string{
		"--foreground", "--stderr", "--quiet", "--fd", strconv.Itoa(fd),
		"--address", GuestIPv4.String(), "--netmask", passtMask, "--gateway", GatewayIPv4.String(),
		"--address", GuestIPv6.String(), "--gateway", GatewayIPv6.String(),
	}
	if n.HideHost {
		args = append(args, "--no-map-gw")
	}
	for _, f := range n.Forwards {
		if f.HostPort == 0 || f.GuestPort == 0 {
			return nil, errors.New("a forwarded port is 0")
		}
		if f.HostAddr.Zone() != "" {
			return nil, fmt.Errorf("the forwarded address %v has a zone", f.HostAddr)
		}
		option := "--tcp-ports"
		if f.UDP {
			option = "--udp-ports"
		}
		from := strconv.Itoa(int(f.HostPort))
		if f.HostAddr.IsValid() {
			from = f.HostAddr.Unmap().String() + "/" + from
		}
		args = append(args, option, from+":"+strconv.Itoa(int(f.GuestPort)))
	}
	return args, nil
}

// Works starts a passt that serves nobody, and reports what is in its way: it
// needs a default route, and may not work in a container or under a service
// manager's restrictions.
func (p *PasstProgram) Works(ctx context.Context) error {
	h, conn, err := p.Start(ctx, Passt{Interface: "none", MAC: net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}})
	if err != nil {
		return err
	}
	conn.Close()
	return h.Stop(ctx)
}

// Start starts passt and returns it with a socket for QEMU's stream network
// (QEMU 7.2 or later), which QEMU inherits and the caller closes. Its ports are
// bound: one that is taken is an error here. If ctx ends first, nothing is left
// of it.
//
// Passt ends when QEMU does. Started by root, it becomes nobody.
func (p *PasstProgram) Start(ctx context.Context, n Passt) (*Helper, *os.File, error) {
	name := "passt of interface " + n.Interface
	args, err := p.Args(n, firstFD)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(n.MAC) != 6 {
		return nil, nil, fmt.Errorf("%s: %q is not an Ethernet address", name, n.MAC)
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	var between *relay
	if len(n.Redirects) > 0 {
		if conn, between, err = n.redirect(conn); err != nil {
			theirs.Close()
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	cmd := &exec.Cmd{Path: p.Path, Args: append([]string{p.Path}, args...), ExtraFiles: []*os.File{theirs}}
	h, err := launchWith(between, name, cmd, nil)
	theirs.Close() // passt has its own
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	// It exits when its socket closes, as it does in its handler of SIGTERM: one
	// during the other waits for itself.
	h.hurry()
	if err := await(ctx, h, conn, greeterPasst(n.MAC)); err != nil {
		conn.Close()
		return nil, nil, passtError(err)
	}
	return h, conn, nil
}

// redirect puts a relay before passt's socket, and returns the socket that leads
// to the relay.
func (n *Passt) redirect(passt *os.File) (*os.File, *relay, error) {
	r, err := newRedirector(n.Redirects)
	if err != nil {
		passt.Close()
		return nil, nil, err
	}
	conn, theirs, err := socketPair()
	if err != nil {
		passt.Close()
		return nil, nil, err
	}
	y, err := startRelay(r, theirs, passt)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, y, nil
}

// socketPair returns two connected sockets for Ethernet frames.
func socketPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(pair[0]), "ethernet"), os.NewFile(uintptr(pair[1]), "ethernet"), nil
}

// boundIPv6 is passt's complaint about a port of an IPv6 address.
var boundIPv6 = regexp.MustCompile(`Failed to bind any port for '-[tu] [0-9a-f]*:[0-9a-f:.]*/`)

// passtError adds what is known about why passt gives up at once.
func passtError(err error) error {
	d := (*Died)(nil)
	if !errors.As(err, &d) {
		return err
	}
	if boundIPv6.MatchString(d.Stderr) && strings.Contains(d.Stderr, "No external routable interface for IPv6") {
		return &HostError{Op: "make a network", Err: d, Hint: "give the host a default route for IPv6, without which passt has none, or forward over IPv4"}
	}
	const needsRoute = "give the host a default route, or use QEMU's own network stack (user.backend = \"slirp\")"
	for _, f := range []struct{ sign, hint string }{
		{"Failed to bind", "stop the program that has the port, or forward another one"},
		{"External interface not usable", needsRoute},
		{"No external interface", needsRoute},
		{"No interface with a default route", needsRoute},
		{"nvalid port specifi", "forward single ports from 1 to 65535"},
		{"nrecognized option", "install a passt of 2023 or later, or use QEMU's own network stack (user.backend = \"slirp\")"},
	} {
		if strings.Contains(d.Stderr, f.sign) {
			return &HostError{Op: "make a network", Err: d, Hint: f.hint}
		}
	}
	return err
}
