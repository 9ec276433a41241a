package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/security"
	"github.com/mvmrun/mvm/vm/sidecar"
)

var _ control.Inspected = (*supervisor)(nil)

// A launched machine is what runs at the moment, to be looked at.
type launched struct {
	program
	helpers []*sidecar.Helper
}

// Security looks at QEMU and its helpers, and compares QEMU with what it was
// started as.
func (s *supervisor) Security(context.Context) (control.Security, error) {
	s.mu.Lock()
	l, pid, state := s.launched, s.status.QEMU, s.status.State
	s.mu.Unlock()
	var found control.Security
	if l == nil || pid == 0 {
		return found, fmt.Errorf("the guest is %s: QEMU does not run", state)
	}
	p, err := security.Read(pid)
	if err != nil {
		return found, inspection("QEMU", err)
	}
	found.Processes = append(found.Processes, control.Confined{Name: "QEMU", Process: *p, Weaker: l.expected().weaker(p)})
	for _, h := range l.helpers {
		tree, err := security.Tree(h.PID())
		if err != nil {
			return found, inspection(h.Name(), err)
		}
		for i, p := range tree {
			c := control.Confined{Name: h.Name(), Process: *p, Weaker: []string{}}
			// Of several processes the first only waits for the last, in
			// whose sandbox it cannot be. A virtiofsd in C leaves a thread
			// of its library outside.
			if i == len(tree)-1 && p.Unfiltered == p.Threads {
				c.Weaker = append(c.Weaker, "it has no seccomp filter")
			}
			found.Processes = append(found.Processes, c)
		}
	}
	return found, nil
}

func inspection(who string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%s has just ended", who)
	}
	return fmt.Errorf("look at %s: %w", who, err)
}

// An expectation is how QEMU should be found. Its zero value is the strictest.
type expectation struct {
	uid, gid int
	groups   []int
	caps     []string
	bounding bool            // more may be left in the bounding set, which mvm could not change
	sandbox  string          // the value of -sandbox, "" for none
	writes   map[string]bool // these paths, and what is below them
	anyPath  bool            // arguments that mvm does not know may open anything
}

// expected is what QEMU was started as.
func (l *launched) expected() *expectation {
	cred := l.cred
	if cred == nil {
		cred = ownCredential()
	}
	e := &expectation{
		uid: int(cred.Uid), gid: int(cred.Gid), bounding: os.Geteuid() != 0,
		// Devices are no files of the host's.
		writes: map[string]bool{"/dev": true}, anyPath: len(l.machine.ExtraArgs) > 0,
	}
	for _, g := range cred.Groups {
		e.groups = append(e.groups, int(g))
	}
	for _, p := range l.machine.Privileges(cred.Uid == 0) {
		e.caps = append(e.caps, security.CapName(p.Cap))
	}
	e.sandbox = sandboxOf(l.machine.Args())
	allow := func(path string) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			e.writes[real] = true
		}
	}
	for i := range l.machine.Drives {
		if d := &l.machine.Drives[i]; d.Writable {
			allow(d.Path)
		}
	}
	for i := range l.machine.Shares {
		if s := &l.machine.Shares[i]; s.Writable && s.Path != "" {
			allow(s.Path)
		}
	}
	return e
}

// sandboxOf returns what a command line says of QEMU's sandbox. The first option
// of its name is the only one that QEMU 7.2 heeds.
func sandboxOf(args []string) string {
	for i, a := range args {
		if strings.TrimLeft(a, "-") == "sandbox" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// denials are the groups of system calls that a sandbox can deny.
var denials = []string{"obsolete", "elevateprivileges", "spawn", "resourcecontrol"}

// weaker says in which ways a process is less confined than it should be.
func (e *expectation) weaker(p *security.Process) []string {
	found := []string{}
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if p.UID != e.uid {
		say("it runs as user %d; want %d", p.UID, e.uid)
	}
	if p.GID != e.gid {
		say("it runs as group %d; want %d", p.GID, e.gid)
	}
	for _, g := range p.Groups {
		if g != e.gid && !slices.Contains(e.groups, g) {
			say("it has group %d besides", g)
		}
	}
	switch wanted, has := parseSandbox(e.sandbox), parseSandbox(sandboxOf(p.Args)); {
	case wanted["enable"] && p.Seccomp != "filter":
		say("it has no seccomp filter; want -sandbox %s", e.sandbox)
	case wanted["enable"]:
		for _, d := range denials {
			if wanted[d] && !has[d] {
				say("its sandbox does not deny %s", d)
			}
		}
	}
	if !p.NoNewPrivs {
		say("a program that it executes can gain privileges")
	}
	if extra := besides(p.Capabilities, e.caps); len(extra) > 0 {
		say("it has %s besides", strings.Join(extra, ", "))
	}
	if extra := besides(p.Bounding, e.caps); len(extra) > 0 && !e.bounding {
		say("its bounding set has %d capabilities besides", len(extra))
	}
	if p.Core {
		say("it may leave a core with the guest's memory in it")
	}
	for _, path := range p.Writable {
		if !e.anyPath && !e.mayWrite(path) {
			say("it has %s open for writing, which no key of the definition names", path)
		}
	}
	return found
}

// besides returns what has has and want has not.
func besides(has, want []string) []string {
	var extra []string
	for _, h := range has {
		if !slices.Contains(want, h) {
			extra = append(extra, h)
		}
	}
	return extra
}

// mayWrite reports whether a path, or what it is in, is one that QEMU is to
// write.
func (e *expectation) mayWrite(path string) bool {
	for path = strings.TrimSuffix(path, " (deleted)"); ; path = filepath.Dir(path) {
		if e.writes[path] {
			return true
		}
		if path == "/" {
			return false
		}
	}
}

// parseSandbox reads "on,spawn=deny": whether it is on, as "enable", and what it
// denies.
func parseSandbox(value string) map[string]bool {
	set := make(map[string]bool)
	for i, field := range strings.Split(value, ",") {
		key, v, ok := strings.Cut(field, "=")
		switch {
		case i == 0 && !ok:
			set["enable"] = key == "on"
		case v == "on", v == "deny":
			set[key] = true
		}
	}
	return set
}
