package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Dirs are the directories under which every machine has one of its own name,
// and the cache that they share. All are absolute.
type Dirs struct {
	State   string // volumes, console log, last exit, lock: outlives a reboot
	Runtime string // control socket, identity, initrd: gone after a reboot
	Cache   string // store disks, kernels, and what each QEMU can do
}

// Kernels is where unpacked kernels are kept.
func (d Dirs) Kernels() string { return filepath.Join(d.Cache, "kernels") }

// Probes is where it is kept what each QEMU can do.
func (d Dirs) Probes() string { return filepath.Join(d.Cache, "qemu") }

// Machine returns the directories of the machine called name.
func (d Dirs) Machine(name string) Machine {
	return Machine{
		Name:    name,
		State:   filepath.Join(d.State, name),
		Runtime: filepath.Join(d.Runtime, name),
	}
}

// A Machine is one machine's place on the host. Nothing in it need exist.
type Machine struct {
	Name    string
	State   string
	Runtime string
}

// LockFile is what the process that runs the machine holds locked.
func (m Machine) LockFile() string { return filepath.Join(m.State, "lock") }

// ConsoleLog is what the guest wrote to its console.
func (m Machine) ConsoleLog() string { return filepath.Join(m.State, "console.log") }

// LastExit is how the machine ended last, as JSON.
func (m Machine) LastExit() string { return filepath.Join(m.State, "exit.json") }

// Events is what happened in the machine's last life, as JSON lines.
func (m Machine) Events() string { return filepath.Join(m.State, "events.ndjson") }

// Borrowed says which devices of the host the machine has taken from their
// drivers, as JSON. It is there while it has any.
func (m Machine) Borrowed() string { return filepath.Join(m.State, "borrowed.json") }

// GCRoots is a directory of links that keep the machine's closure.
func (m Machine) GCRoots() string { return filepath.Join(m.State, "gcroots") }

// IdentityFile says which process runs the machine.
func (m Machine) IdentityFile() string { return filepath.Join(m.Runtime, "supervisor.json") }

// Socket is where that process answers.
func (m Machine) Socket() string { return filepath.Join(m.Runtime, "control.sock") }

// Initrd is the initrd that the machine is booted with.
func (m Machine) Initrd() string { return filepath.Join(m.Runtime, "initrd") }

// ShellInitrd is the initrd of a machine that is started by hand.
func (m Machine) ShellInitrd() string { return filepath.Join(m.State, "shell-initrd") }

// StoreDisk is a link to the machine's store disk in the cache.
func (m Machine) StoreDisk() string { return filepath.Join(m.Runtime, "store-disk") }

// Make creates both directories with mode 0700, and their parents.
func (m Machine) Make() error {
	for _, dir := range []string{m.State, m.Runtime} {
		if err := makePrivate(dir); err != nil {
			return err
		}
	}
	return nil
}

// makePrivate creates dir for this user alone, or checks that it is so.
func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		return fmt.Errorf("%s: not a directory", dir)
	case ok && int(st.Uid) != os.Getuid():
		return &OwnerError{Dir: dir, Owner: int(st.Uid), User: os.Getuid()}
	case fi.Mode().Perm()&0o077 != 0:
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// An OwnerError says that a machine's directory belongs to somebody else.
type OwnerError struct {
	Dir   string
	Owner int // user id of the directory's owner
	User  int // user id of this process
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s: belongs to user %d, not to user %d", e.Dir, e.Owner, e.User)
}

// RemoveRuntime removes the machine's run-time directory and all in it. Only
// the holder of the lock may call it.
func (m Machine) RemoveRuntime() error { return os.RemoveAll(m.Runtime) }

// Names lists the machines that run or seem to, sorted: those that have a
// run-time directory, and those whose lock is held though they have none.
func (d Dirs) Names() ([]string, error) {
	names, err := subdirs(d.Runtime)
	if err != nil {
		return nil, err
	}
	known, err := subdirs(d.State)
	if err != nil {
		return nil, err
	}
	for _, name := range known {
		if slices.Contains(names, name) {
			continue
		}
		// One that may not be looked at is somebody else's.
		if running, err := d.Machine(name).Running(); err == nil && running {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Known lists the machines that have a directory of either kind, sorted.
func (d Dirs) Known() ([]string, error) {
	running, err := subdirs(d.Runtime)
	if err != nil {
		return nil, err
	}
	kept, err := subdirs(d.State)
	if err != nil {
		return nil, err
	}
	names := append(running, kept...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// subdirs lists the directories in dir. One that does not exist has none.
func subdirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
