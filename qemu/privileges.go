package qemu

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Privilege is a capability of Linux that QEMU keeps, and what of the machine
// needs it.
type Privilege struct {
	Cap uintptr // unix.CAP_…
	Why string
}

// lowPort is the first port that any process may listen on, unless the host has
// been told otherwise (net.ipv4.ip_unprivileged_port_start).
const lowPort = 1024

// Privileges are the capabilities that QEMU keeps when all its files are opened
// for it: none, but for what it can only do by itself. Root says that it runs
// as root. They are in order, each once.
//
// A share by 9p is the costly one: QEMU serves files of all users, as root did
// before it gave its capabilities away. With another user it serves what that
// user may read and write.
func (m *Machine) Privileges(root bool) []Privilege {
	var list []Privilege
	need := func(why string, caps ...uintptr) {
		for _, c := range caps {
			if !slices.ContainsFunc(list, func(p Privilege) bool { return p.Cap == c }) {
				list = append(list, Privilege{c, why})
			}
		}
	}
	for i, s := range m.Shares {
		w := why(s.Why, "shares", i)
		switch {
		case s.virtiofs() || !root:
		case !s.Writable:
			need(w, unix.CAP_DAC_READ_SEARCH)
		default:
			need(w, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID)
			if s.Security == "passthrough" {
				need(w, unix.CAP_MKNOD)
			}
		}
	}
	for i, n := range m.NICs {
		w := why(n.Why, "interfaces", i)
		if n.User != nil && slices.ContainsFunc(n.User.HostForwards, func(f HostForward) bool { return f.HostPort < lowPort }) {
			need(w, unix.CAP_NET_BIND_SERVICE)
		}
		if n.Tap != nil && len(n.Tap.Files) == 0 {
			need(w, unix.CAP_NET_ADMIN)
		}
	}
	for i, d := range m.Devices {
		if d.PCI != "" {
			// The device reaches all of the guest's memory, which is locked.
			need(why(d.Why, "devices", i), unix.CAP_IPC_LOCK)
		}
	}
	slices.SortFunc(list, func(a, b Privilege) int { return int(a.Cap) - int(b.Cap) })
	return list
}

// confinement returns what takes QEMU's privileges away on the thread that
// starts it, or nil, and adds to attr the capabilities that a change of the user
// would take.
func (m *Machine) confinement(attr *syscall.SysProcAttr) (func() error, error) {
	own, err := capabilities()
	if err != nil {
		return nil, fmt.Errorf("read this thread's capabilities: %w", err)
	}
	root := os.Geteuid() == 0
	if c := attr.Credential; c != nil {
		root = c.Uid == 0
	}
	var keep []uintptr
	for _, p := range m.Privileges(root) {
		if own.permitted(p.Cap) {
			keep = append(keep, p.Cap)
		}
	}
	if !root {
		attr.AmbientCaps = keep
	}
	return func() error { return confine(keep) }, nil
}

// confine gives the calling thread's privileges away for whatever it executes:
// what is executed gains none, and has none but keep. The thread itself keeps
// those that it has, since it must be allowed to end its child. Nothing else may
// ever run on the thread.
func confine(keep []uintptr) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear the ambient capabilities: %w", err)
	}
	own, err := capabilities()
	if err != nil {
		return fmt.Errorf("read the thread's capabilities: %w", err)
	}
	if own.effective(unix.CAP_SETPCAP) {
		for c := uintptr(0); ; c++ {
			if slices.Contains(keep, c) {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
				break // the kernel knows no more of them
			} else if err != nil {
				return fmt.Errorf("drop a capability: %w", err)
			}
		}
	}
	own[0].Inheritable, own[1].Inheritable = 0, 0
	if err := unix.Capset(capHeader(), &own[0]); err != nil {
		return fmt.Errorf("clear the inheritable capabilities: %w", err)
	}
	return nil
}

// A capSet is a thread's capabilities as the kernel has them.
type capSet [2]unix.CapUserData

func (s *capSet) effective(c uintptr) bool { return s[c/32].Effective&(1<<(c%32)) != 0 }
func (s *capSet) permitted(c uintptr) bool { return s[c/32].Permitted&(1<<(c%32)) != 0 }

func capHeader() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// capabilities are those of the calling thread.
func capabilities() (capSet, error) {
	var s capSet
	err := unix.Capget(capHeader(), &s[0])
	return s, err
}
