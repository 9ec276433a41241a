package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// inherited is where mkfs finds the file, which may have no other name. It keeps
// a lock on the file, too, for as long as mkfs runs.
const inherited = "/proc/self/fd/3"

// format finds what formats an image, without doing it yet.
func format(s Spec) (func(context.Context, *os.File) error, error) {
	op := "make volume " + s.Path
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
	args = append(append(args, s.Args...), inherited)
	return func(ctx context.Context, f *os.File) error {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.ExtraFiles = []*os.File{f}
		if out, err := cmd.CombinedOutput(); err != nil {
			return mkfsError(op, tool.program, strings.ReplaceAll(string(out), inherited, s.Path), err)
		}
		return nil
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

func mkfsError(op, program, out string, err error) error {
	text := strings.TrimSpace(out)
	// Go and C write it with different first letters.
	if strings.Contains(strings.ToLower(text), syscall.ENOSPC.Error()) {
		return &HostError{Op: op, Err: syscall.ENOSPC, Hint: "free some space, or make the volume smaller"}
	}
	if text == "" {
		return fmt.Errorf("%s: %s: %w", op, program, err)
	}
	return fmt.Errorf("%s: %s: %w: %s", op, program, err, text)
}
