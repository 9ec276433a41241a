package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
)

// title says what is mounted where, as errors have it.
func title(m mounts.Mount) string {
	if m.Type == "" {
		return fmt.Sprintf("bind %s on %s", m.What, m.Where)
	}
	return fmt.Sprintf("mount %s on %s", m.Type, m.Where)
}

// prepare makes the directories of a mount, and its mount point.
func prepare(m mounts.Mount, where string) error {
	for _, dir := range m.Dirs {
		if err := mkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if m.Type == "" {
		if st, err := os.Stat(m.What); err == nil && !st.IsDir() {
			return makeFile(where)
		}
	}
	return mkdirAll(where, 0o755)
}

// mkdirAll is os.MkdirAll with the mode as it is given: the guest's umask is
// whatever the kernel started us with.
func mkdirAll(dir string, mode os.FileMode) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return failure("make directory "+dir, err)
	}
	return nil
}

// makeFile makes an empty file for a file to be bound on.
func makeFile(path string) error {
	if err := mkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return failure("make file "+path, err)
	}
	return f.Close()
}

// A source is what an entry of the plan is mounted from.
type source struct {
	path     string // a device, else what the plan says
	readOnly bool   // the device cannot be written
}

// mount carries out one entry of the plan at where, which is m.Where as seen
// from the caller's root.
//
// A device that cannot be written is mounted read-only, as by mount(8); asking
// the kernel first would have it complain on the console.
func mount(m mounts.Mount, from source, where string) error {
	op := title(m)
	f := parseOptions(m.AllOptions())
	kind := m.Type
	if kind == "" {
		f.set |= unix.MS_BIND
		f.data = ""
	}
	if err := prepare(m, where); err != nil {
		return &Failure{Op: op, Err: err}
	}
	if f.set&unix.MS_BIND != 0 {
		return wrapMount(op, kind, bind(from.path, where, f))
	}
	if from.readOnly {
		f.set |= unix.MS_RDONLY
	}
	err := retry(func() error { return unix.Mount(from.path, where, kind, f.set, f.data) })
	if err == nil {
		err = propagate(where, f)
	}
	return wrapMount(op, kind, err)
}

// bind mounts a directory or file that is there already. The kernel takes a
// bind mount's own flags only when it is mounted once more.
func bind(source, where string, f flags) error {
	how := f.set & (unix.MS_BIND | unix.MS_REC)
	if err := retry(func() error { return unix.Mount(source, where, "", how, "") }); err != nil {
		return err
	}
	const perMount = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
		unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME
	if own := f.set & perMount; own != 0 {
		var st unix.Statfs_t
		if err := unix.Statfs(where, &st); err != nil {
			return err
		}
		// What is not repeated is taken away, even what the source has.
		own |= uintptr(st.Flags) & (unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC)
		if err := retry(func() error {
			return unix.Mount("none", where, "", unix.MS_REMOUNT|unix.MS_BIND|own, "")
		}); err != nil {
			return fmt.Errorf("remount: %w", err)
		}
	}
	return propagate(where, f)
}

func propagate(where string, f flags) error {
	if f.propagation == 0 {
		return nil
	}
	return retry(func() error { return unix.Mount("none", where, "", f.propagation, "") })
}

// wrapMount adds what may explain a refused mount: for a file system that the
// kernel has not, those that it has; else what the kernel last said.
func wrapMount(op, kind string, err error) error {
	if err == nil {
		return nil
	}
	f := &Failure{Op: op, Err: err, Detail: kernelSays()}
	if errors.Is(err, unix.ENODEV) {
		f.Err = fmt.Errorf("the kernel has no support for %s", kind)
		f.Detail = "file systems that the kernel knows: " + knownFileSystems()
	}
	return f
}

func knownFileSystems() string {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err.Error()
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) > 0 {
			names = append(names, fields[len(fields)-1])
		}
	}
	return strings.Join(names, " ")
}
