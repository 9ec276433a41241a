package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/mvmrun/mvm/qemu"
)

// kvmDevice is what a QEMU with KVM opens by itself: it takes no descriptor of
// it (QEMU 8.2 and before).
const kvmDevice = "/dev/kvm"

// credential is whom QEMU runs as, nil for this process's own user. Only root
// can make it somebody else; note then says so. The supplementary groups are the
// user's, and that of /dev/kvm when the guest needs it.
func (c *Config) credential(accel qemu.Accel) (cred *syscall.Credential, note string, err error) {
	if c.User == "" {
		return nil, "", nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		return nil, "", &HostError{
			Op: "user " + c.User, Err: unknownUser(err),
			Hint: fmt.Sprintf("make the user (useradd --system --no-create-home %s), or correct user in the definition", c.User),
		}
	}
	if cred, err = credentialOf(u); err != nil {
		return nil, "", fmt.Errorf("user %s: %w", c.User, err)
	}
	if os.Geteuid() != 0 {
		if int(cred.Uid) != os.Geteuid() {
			note = fmt.Sprintf("QEMU runs as this user: only root can start it as %s", c.User)
		}
		return nil, note, nil
	}
	if accel == qemu.KVM {
		if err := letOpenKVM(cred, kvmDevice); err != nil {
			return nil, "", err
		}
	}
	return cred, "", nil
}

func unknownUser(err error) error {
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		return errors.New("this host has no such user")
	}
	return err
}

func credentialOf(u *user.User) (*syscall.Credential, error) {
	number := func(s string) (uint32, error) {
		n, err := strconv.ParseUint(s, 10, 32)
		return uint32(n), err
	}
	uid, err := number(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := number(u.Gid)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	cred := &syscall.Credential{Uid: uid, Gid: gid}
	for _, id := range ids {
		g, err := number(id)
		if err != nil {
			return nil, err
		}
		cred.Groups = append(cred.Groups, g)
	}
	slices.Sort(cred.Groups)
	return cred, nil
}

// letOpenKVM adds the device's group to cred's if that is what lacks.
func letOpenKVM(cred *syscall.Credential, device string) error {
	fi, err := os.Stat(device)
	if err != nil {
		return err
	}
	const readWrite = 0o6
	if permits(fi, cred, readWrite) {
		return nil
	}
	st := fi.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // Linux
	if st.Gid == 0 || fi.Mode().Perm()>>3&readWrite != readWrite {
		return &HostError{
			Op: "open " + device + " as user " + strconv.Itoa(int(cred.Uid)), Err: fs.ErrPermission,
			Hint: "give the device to a group (chgrp kvm /dev/kvm; chmod g+rw /dev/kvm), or set accel=tcg",
		}
	}
	cred.Groups = append(cred.Groups, st.Gid)
	return nil
}

// permits reports whether the mode of a file lets a user without capabilities
// do all of want: bits of 4 to read, 2 to write. It knows nothing of access
// control lists, which can only be in the way of what it allows.
func permits(fi fs.FileInfo, cred *syscall.Credential, want fs.FileMode) bool {
	st := fi.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // Linux
	mode := fi.Mode().Perm()
	switch {
	case st.Uid == cred.Uid:
		mode >>= 6
	case st.Gid == cred.Gid || slices.Contains(cred.Groups, st.Gid):
		mode >>= 3
	}
	return mode&want == want
}

// ownCredential is this process's own user.
func ownCredential() *syscall.Credential {
	cred := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	groups, err := os.Getgroups()
	if err != nil {
		return cred // fewer groups only mean a copy too many
	}
	for _, g := range groups {
		cred.Groups = append(cred.Groups, uint32(g))
	}
	return cred
}
