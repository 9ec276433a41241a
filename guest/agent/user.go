package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// Where a guest has its users. What else it may ask (name services) is the
// business of its own programs.
const (
	passwdPath = "/etc/passwd"
	groupPath  = "/etc/group"
)

// A user is who a command runs as.
type user struct {
	name  string // "" for whoever the agent is, asked for by nobody
	home  string
	shell string
	cred  *syscall.Credential // nil leaves all as it is
}

// userOf finds the user of a command.
func userOf(e handoff.Exec) (user, error) {
	if e.User == "" && !e.Login {
		return user{}, nil
	}
	name := e.User
	if name == "" {
		name = "root"
	}
	passwd, err := os.ReadFile(passwdPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return user{}, err
	}
	group, err := os.ReadFile(groupPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return user{}, err
	}
	return findUser(name, string(passwd), string(group))
}

// findUser looks a user up by name or number. Root is there in any guest, and so
// is every number.
func findUser(name, passwd, group string) (user, error) {
	number, err := strconv.ParseUint(name, 10, 32)
	isNumber := err == nil
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 7 || f[0] != name && (!isNumber || f[2] != name) {
			continue
		}
		uid, uerr := strconv.ParseUint(f[2], 10, 32)
		gid, gerr := strconv.ParseUint(f[3], 10, 32)
		if uerr != nil || gerr != nil {
			return user{}, fmt.Errorf("user %q has the numbers %q and %q", name, f[2], f[3])
		}
		return newUser(f[0], uint32(uid), uint32(gid), groupsOf(f[0], group), f[5], f[6]), nil
	}
	switch {
	case name == "root":
		return newUser(name, 0, 0, nil, "/root", ""), nil
	case isNumber:
		return newUser(name, uint32(number), uint32(number), nil, "/", ""), nil
	}
	return user{}, fmt.Errorf("the guest's %s has no user %q", passwdPath, name)
}

// fallbackShell is the shell of a user who has none, or one that is not there.
const fallbackShell = "sh"

func newUser(name string, uid, gid uint32, groups []uint32, home, shell string) user {
	if _, err := os.Stat(shell); shell == "" || err != nil {
		shell = fallbackShell
	}
	u := user{name: name, home: home, shell: shell}
	if int(uid) != os.Getuid() || int(gid) != os.Getgid() || len(groups) > 0 {
		u.cred = &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}
	}
	return u
}

// groupsOf are the groups that list a user as a member.
func groupsOf(name, group string) []uint32 {
	var ids []uint32
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			ids = append(ids, uint32(id))
		}
	}
	return ids
}

// dir is where the user's commands begin: a login at home, if that is there.
func (u user) dir(login bool) string {
	if login {
		if st, err := os.Stat(u.home); err == nil && st.IsDir() {
			return u.home
		}
	}
	return "/"
}

// environ is what the user's commands know of the user.
func (u user) environ() []string {
	if u.name == "" {
		return nil
	}
	return []string{"HOME=" + u.home, "USER=" + u.name, "LOGNAME=" + u.name, "SHELL=" + u.shell}
}
