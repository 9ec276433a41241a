package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

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

// format finds what formats an image, without doing it yet.
func format(s Spec) (func(context.Context, *os.File) error, error) {
	op := "make " + s.op()
	tool, ok := mkfs[s.FSType]
	if !ok {
		return nil, fmt.Errorf("%s: no way to make a file system of type %q", op, s.FSType)
	}
	program, err := LookPath(tool.program)
	if err != nil {
		return nil, &HostError{Op: op, Err: fmt.Errorf("%s is not installed", tool.program), Hint: "install " + tool.pkg}
	}
	args := append([]string(nil), tool.flags...)
	if s.Label != "" {
		args = append(args, tool.label, s.Label)
	}
	args = append(append(args, s.Args...), inheritedFile(0))
	return func(ctx context.Context, f *os.File) error {
		_, err := runTool(ctx, op, program, s.Path, args, f)
		return err
	}, nil
}

// LookPath finds a program of mkfs's kind: PATH of an ordinary user often
// leaves out the directories where they are.
func LookPath(name string) (string, error) {
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

// toolError is the error of a program that said something about files and failed.
func toolError(op, program, said string, err error, files []*os.File) error {
	said = strings.TrimSpace(said)
	// Go and C write it with different first letters, and mkfs.vfat and
	// mkfs.btrfs do not write it at all.
	if strings.Contains(strings.ToLower(said), syscall.ENOSPC.Error()) || slices.ContainsFunc(files, onFullDisk) {
		return &HostError{Op: op, Err: syscall.ENOSPC, Hint: "free some space, or make the volume smaller"}
	}
	name := filepath.Base(program)
	if said == "" {
		return fmt.Errorf("%s: %s: %w", op, name, err)
	}
	return fmt.Errorf("%s: %s: %w: %s", op, name, err, said)
}

// onFullDisk reports whether there is no room left for a file to grow.
func onFullDisk(f *os.File) bool {
	var free syscall.Statfs_t
	const little = 64 << 10
	return syscall.Fstatfs(int(f.Fd()), &free) == nil && int64(free.Bavail)*free.Bsize < little
}
