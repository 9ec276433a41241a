package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Spec is an image to be there.
type Spec struct {
	Path   string // absolute
	MiB    int    // size of the image
	FSType string // "ext2", "ext3", "ext4", "xfs", "btrfs" or "vfat"
	Label  string // of the file system; empty for none
	Args   []string
}

// A HostError is something that this host lacks for making an image.
type HostError struct {
	Op   string
	Err  error
	Hint string
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// mkfs is how to format a file with each file system: the program, Debian's
// package for it, its quiet and unquestioning flags, and its flag for a label.
var mkfs = map[string]struct {
	program, pkg string
	flags        []string
	label        string
}{
	"ext2":  {"mkfs.ext2", "e2fsprogs", []string{"-q", "-F"}, "-L"},
	"ext3":  {"mkfs.ext3", "e2fsprogs", []string{"-q", "-F"}, "-L"},
	"ext4":  {"mkfs.ext4", "e2fsprogs", []string{"-q", "-F"}, "-L"},
	"xfs":   {"mkfs.xfs", "xfsprogs", []string{"-q", "-f"}, "-L"},
	"btrfs": {"mkfs.btrfs", "btrfs-progs", []string{"-q", "-f"}, "-L"},
	"vfat":  {"mkfs.vfat", "dosfstools", nil, "-n"},
}

// Ensure makes the image unless something is at its path already, and reports
// whether it did. Whatever exists is left as it is.
func Ensure(ctx context.Context, s Spec) (made bool, err error) {
	op := "make volume " + s.Path
	switch _, err := os.Stat(s.Path); {
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("volume: %w", err)
	}
	tool, ok := mkfs[s.FSType]
	if !ok {
		return false, fmt.Errorf("%s: no way to make a file system of type %q", op, s.FSType)
	}
	program, err := lookPath(tool.program)
	if err != nil {
		return false, &HostError{Op: op, Err: fmt.Errorf("%s is not installed", tool.program), Hint: "install " + tool.pkg}
	}
	dir := filepath.Dir(s.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(s.Path)+".*.tmp")
	if err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	defer f.Close()
	defer os.Remove(f.Name()) // after a success it has no such name any more
	noCoW(f)
	if err := f.Truncate(int64(s.MiB) << 20); err != nil {
		return false, fmt.Errorf("%s: %w", op, cause(err))
	}
	args := append([]string(nil), tool.flags...)
	if s.Label != "" {
		args = append(args, tool.label, s.Label)
	}
	args = append(append(args, s.Args...), f.Name())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C") // mkfsError reads what it says
	out, err := cmd.CombinedOutput()
	if err != nil {
		return false, mkfsError(op, tool.program, out, err)
	}
	if err := f.Sync(); err != nil {
		return false, fmt.Errorf("%s: %w", op, cause(err))
	}
	// Nobody's image is replaced, not even one that appeared just now.
	err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, s.Path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	return true, syncDir(dir)
}

// lookPath finds a program of mkfs's kind: PATH of an ordinary user often
// leaves out the directories where they are.
func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/run/current-system/sw/bin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}

// noCoW keeps a copy-on-write file system from scattering the image's blocks.
// Only btrfs knows the flag; everywhere else it changes nothing.
func noCoW(f *os.File) {
	const fsNoCoW = 0x00800000 // FS_NOCOW_FL, linux/fs.h
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|fsNoCoW))
	}
}

func mkfsError(op, program string, out []byte, err error) error {
	text := strings.TrimSpace(string(out))
	// Go and C write it with different first letters.
	if strings.Contains(strings.ToLower(text), syscall.ENOSPC.Error()) {
		return &HostError{Op: op, Err: syscall.ENOSPC, Hint: "free some space, or make the volume smaller"}
	}
	if text == "" {
		return fmt.Errorf("%s: %s: %w", op, program, err)
	}
	return fmt.Errorf("%s: %s: %w: %s", op, program, err, text)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Exists checks that an image that mvm is not to make is there.
func Exists(path string) error {
	if _, err := os.Stat(path); err != nil {
		return &HostError{Op: "volume " + path, Err: cause(err), Hint: "make the image, or let mvm make it with autoCreate = true"}
	}
	return nil
}
