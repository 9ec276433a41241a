package machined

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// A HostError is something that this host lacks or does not allow. It says what
// was attempted, why that failed, and what the reader can do about it.
type HostError struct {
	Op   string // what was tried: "reach systemd-machined"
	Err  error  // why it failed
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// What machined and systemd are called on the bus.
const (
	busName     = "org.freedesktop.machine1"
	manager     = busName + ".Manager"
	managerPath = dbus.ObjectPath("/org/freedesktop/machine1")
	scope       = "org.freedesktop.systemd1.Scope"

	machineExists = busName + ".MachineExists"
)

// service is what machined says runs the machine.
const service = "mvm"

// A Machine is what machined is told.
type Machine struct {
	// Name is what machinectl calls it: at most 64 letters, digits, dots,
	// dashes and underscores.
	Name string

	// UUID is the machine's identity, in any form with 32 hexadecimal digits.
	UUID string

	// Leader is QEMU's process id.
	Leader int

	// Interfaces are the indices of the network interfaces on the host that
	// lead to the machine.
	Interfaces []int

	// StopLimit is how long the machine may take to end when it is asked to.
	StopLimit time.Duration
}

// A Bus is a connection to machined.
type Bus struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
	stops   chan struct{}
	done    chan struct{} // closed when the signals' reader has ended
}

// Connect finds machined, which the system's bus starts. Close must be called. The
// error is a [HostError].
func Connect(ctx context.Context) (*Bus, error) {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(context.WithoutCancel(ctx)))
	if err == nil {
		err = conn.Object(busName, managerPath).CallWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0).Err
		if err != nil {
			conn.Close()
		}
	}
	if err != nil {
		return nil, &HostError{Op: "reach systemd-machined", Err: err,
			Hint: "install it (on Debian: systemd-container) and a system bus, or set registerWithMachined = false"}
	}
	b := &Bus{conn: conn, signals: make(chan *dbus.Signal, 8), stops: make(chan struct{}, 1), done: make(chan struct{})}
	conn.Signal(b.signals)
	go b.listen()
	return b, nil
}

// listen is the goroutine that hears requests to stop, and ends with the connection.
func (b *Bus) listen() {
	defer close(b.done)
	for s := range b.signals {
		if s.Name == scope+".RequestStop" {
			select {
			case b.stops <- struct{}{}:
			default: // it was asked for already
			}
		}
	}
}

// Stops receives when systemd asks for the machine's end.
func (b *Bus) Stops() <-chan struct{} { return b.stops }

// Close closes the connection. A machine that is still registered stays so.
func (b *Bus) Close() error {
	err := b.conn.Close()
	<-b.done
	return err
}

// Register tells machined of a machine whose QEMU has been started.
func (b *Bus) Register(ctx context.Context, m Machine) error {
	id, err := hex.DecodeString(strings.ReplaceAll(m.UUID, "-", ""))
	if err != nil {
		return err
	}
	interfaces := make([]int32, len(m.Interfaces))
	for i, n := range m.Interfaces {
		interfaces[i] = int32(n)
	}
	const class, root = "vm", "" // its files are not the host's to see
	args := []any{m.Name, id, service, class, uint32(m.Leader), root, interfaces}
	method := "RegisterMachineWithNetwork"
	if own, err := ownService(); err != nil {
		return err
	} else if !own {
		method = "CreateMachineWithNetwork"
		args = append(args, b.properties(m))
	}
	err = b.call(ctx, method, args...)
	if refusal(err) == machineExists && b.leftover(ctx, m.Name) && b.Unregister(ctx, m.Name) == nil {
		err = b.call(ctx, method, args...)
	}
	if err == nil {
		return nil
	}
	he := &HostError{Op: "register " + m.Name + " with systemd-machined", Err: err, Hint: "set registerWithMachined = false"}
	switch refusal(err) {
	case machineExists, "org.freedesktop.systemd1.UnitExists", "org.freedesktop.DBus.Error.FileExists":
		he.Hint = "give the machine another name: machinectl list shows those that are taken"
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		he.Hint = "run as root, or set registerWithMachined = false"
	}
	return he
}

// call calls a method of machined's.
func (b *Bus) call(ctx context.Context, method string, args ...any) error {
	return b.conn.Object(busName, managerPath).CallWithContext(ctx, manager+"."+method, 0, args...).Err
}

// leftover reports whether a machine is one of mvm's whose QEMU is dead. machined
// keeps it for as long as its service runs, which may have been started again.
func (b *Bus) leftover(ctx context.Context, name string) bool {
	var at dbus.ObjectPath
	err := b.conn.Object(busName, managerPath).CallWithContext(ctx, manager+".GetMachine", 0, name).Store(&at)
	if err != nil {
		return false
	}
	var (
		by     string
		leader uint32
	)
	if b.conn.Object(busName, at).StoreProperty(busName+".Machine.Service", &by) != nil ||
		b.conn.Object(busName, at).StoreProperty(busName+".Machine.Leader", &leader) != nil {
		return false
	}
	_, err = os.Stat(fmt.Sprintf("/proc/%d", leader))
	return by == service && errors.Is(err, fs.ErrNotExist)
}

// A property is one of a unit, as systemd takes it: (sv).
type property struct {
	Name  string
	Value dbus.Variant
}

// properties are those of the machine's scope.
func (b *Bus) properties(m Machine) []property {
	p := []property{
		{"Controller", dbus.MakeVariant(b.conn.Names()[0])},
	}
	if m.StopLimit > 0 {
		// systemd kills what is left when mvm should have been done.
		p = append(p, property{"TimeoutStopUSec", dbus.MakeVariant(uint64((m.StopLimit + 20*time.Second).Microseconds()))})
	}
	return p
}

// Unregister tells machined that the machine has ended. It is no error if machined
// has found out.
func (b *Bus) Unregister(ctx context.Context, name string) error {
	err := b.call(ctx, "UnregisterMachine", name)
	if err == nil || refusal(err) == busName+".NoSuchMachine" {
		return nil
	}
	return fmt.Errorf("unregister %s from systemd-machined: %w", name, err)
}

// refusal is the name of an error that came over the bus.
func refusal(err error) string {
	if e := (dbus.Error{}); errors.As(err, &e) {
		return e.Name
	}
	return ""
}

// ownService reports whether this process runs as the service of its machine alone.
func ownService() (bool, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	return isOwnService(b), err
}

// isOwnService judges a file of the form of /proc/self/cgroup: see cgroups(7).
func isOwnService(cgroup []byte) bool {
	for line := range bytes.Lines(cgroup) {
		// Of the unified hierarchy, or of systemd's own.
		for _, prefix := range []string{"0::", "1:name=systemd:"} {
			group, ok := strings.CutPrefix(strings.TrimSpace(string(line)), prefix)
			if unit := path.Base(group); ok && strings.HasPrefix(unit, "mvm@") && strings.HasSuffix(unit, ".service") && !strings.Contains(group, "/user.slice/") {
				return true
			}
		}
	}
	return false
}
