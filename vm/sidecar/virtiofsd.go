package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Virtiofsd describes the daemon of one share. The zero value of each field
// but Share, Source and Dir is the daemon's own default.
type Virtiofsd struct {
	// Share names the share in messages.
	Share string

	// Source is the directory to share, absolute.
	Source string

	// Dir is a directory that only the daemon's user may enter. A socket is
	// in it for a moment while Start runs; its path may be of any length.
	Dir string

	// ReadOnly refuses the guest's writes, whatever the guest's kernel says.
	ReadOnly bool

	// Cache is how long the guest may trust what it has read: "auto",
	// "always", "metadata" or "never". Empty means "auto". C daemons do not
	// know "metadata"; they get "never", which keeps its promise that data
	// is never stale.
	Cache string

	// Xattr passes extended attributes through, and PosixACL, which implies
	// it, access control lists.
	Xattr, PosixACL bool

	// Threads is the number of threads that serve requests, beside the one
	// that receives them. Zero means the daemon's default, which is none.
	Threads int

	// FileHandles is whether the daemon holds inodes by file handles instead
	// of descriptors: "never", "prefer" or "mandatory". C daemons use
	// descriptors; "mandatory" is an error there.
	FileHandles string

	// TranslateUID and TranslateGID are rules of the Rust daemon, as
	// "map:0:1000:1". They are an error for a C daemon.
	TranslateUID, TranslateGID []string

	// Sandbox is "namespace", "chroot" or, for Rust daemons, "none". Empty
	// means "namespace".
	Sandbox string

	// ExtraArgs come last.
	ExtraArgs []string
}

// Start starts the share's daemon and returns it with a socket that is
// connected to it, which QEMU inherits and the caller closes. The daemon has
// answered on it. If ctx ends first, nothing is left of the daemon.
//
// A daemon serves one connection and ends with it: a QEMU that is started anew
// needs a daemon that is started anew.
//
// Run by root, the daemon keeps the owners of files as the guest sets them.
// Run by anybody else it is in a user namespace of its own where it is root and
// its user is the only one: the guest's root is that user on the host.
func (d *Daemon) Start(ctx context.Context, v Virtiofsd) (*Helper, *os.File, error) {
	name := "virtiofsd of share " + v.Share
	args, err := d.Args(v, firstFD)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if fi, err := os.Stat(v.Source); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	} else if !fi.IsDir() {
		return nil, nil, fmt.Errorf("%s: %s: %w", name, v.Source, unix.ENOTDIR)
	}
	root := os.Geteuid() == 0
	cmd := &exec.Cmd{Path: d.Path, Args: append([]string{d.Path}, args...)}
	var prepare func() error
	if v.ReadOnly && !d.readOnly {
		if !root {
			return nil, nil, &HostError{Op: "start " + name, Err: fmt.Errorf("%s cannot share a directory read-only unless root starts it", d),
				Hint: "install virtiofsd 1.13 or later, or share the directory by 9p"}
		}
		prepare = func() error { return readOnlyHere(v.Source) }
	}
	if d.Kind == C && !root {
		cmd.SysProcAttr = asRootOfNamespace()
	}
	return d.connect(ctx, name, v.Dir, cmd, prepare)
}

// firstFD is the number that the first inherited file has in the child.
const firstFD = 3

// connect launches the daemon with a socket to listen on and returns the other
// end of its first and only connection.
func (d *Daemon) connect(ctx context.Context, name, dir string, cmd *exec.Cmd, prepare func() error) (*Helper, *os.File, error) {
	listener, conn, err := listenAndConnect(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: make its socket: %w", name, err)
	}
	cmd.ExtraFiles = []*os.File{listener}
	h, err := launch(name, cmd, prepare)
	listener.Close() // the daemon has its own
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	if err := await(ctx, h, conn, greetVhostUser); err != nil {
		conn.Close()
		return nil, nil, virtiofsdError(err)
	}
	return h, conn, nil
}

// asRootOfNamespace makes the process root in a user namespace that holds
// nobody else.
func asRootOfNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

// virtiofsdError adds what is known about why a daemon gives up at once.
func virtiofsdError(err error) error {
	d := (*Died)(nil)
	if !errors.As(err, &d) {
		return err
	}
	for _, f := range []struct{ sign, hint string }{
		{"unshare(", "run as root with CAP_SYS_ADMIN, or set the share's extraArgs to -o sandbox=chroot"},
		{"entering sandbox", "allow user namespaces, or set the share's extraArgs to --sandbox chroot (root) or --sandbox none"},
		{"chroot(", "run as root, or install virtiofsd 1.13 or later, which needs no privilege"},
		{"RLIMIT_NOFILE", "raise the limit of open files, or add --rlimit-nofile=0 to the share's extraArgs"},
		{"unknown option", "check virtiofsd.extraArgs and the share's extraArgs: the daemons written in C and in Rust have different options"},
		{"unexpected argument", "check virtiofsd.extraArgs and the share's extraArgs: the daemons written in C and in Rust have different options"},
	} {
		if strings.Contains(d.Stderr, f.sign) {
			return &HostError{Op: "share a directory", Err: d, Hint: f.hint}
		}
	}
	return err
}
