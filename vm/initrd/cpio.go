package initrd

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A File is one entry of an archive.
type File struct {
	// Path is where it is, absolute and clean. Directories above it that are
	// not in the archive are added with mode 0755.
	Path string

	// Mode is the type and the permissions as in stat(2): S_IFREG | 0644.
	Mode uint32

	// Data is the content of a file or the target of a symbolic link.
	Data []byte

	// Major and Minor are the number of a device.
	Major, Minor uint32
}

// Types of a File.
const (
	Directory = 0o040000
	CharDev   = 0o020000
	Regular   = 0o100000
	Symlink   = 0o120000

	typeMask = 0o170000
)

// maxFile is what the eight hexadecimal digits of the format hold. A longer
// file would be cut without a word.
const maxFile = 1<<32 - 1

// Archive writes files as a newc archive
// (Documentation/driver-api/early-userspace/buffer-format.rst), in the order of
// their paths, owned by root, of time 0. Two files of one path are an error.
func Archive(w io.Writer, files []File) error {
	files, err := complete(files)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	for i, f := range files {
		if err := writeFile(b, uint32(i+1), strings.TrimPrefix(f.Path, "/"), f); err != nil {
			return fmt.Errorf("write %s to the initrd: %w", f.Path, err)
		}
	}
	if err := writeFile(b, 0, "TRAILER!!!", File{}); err != nil {
		return err
	}
	return b.Flush()
}

// complete sorts files and adds the directories they need. A directory sorts
// before what is in it, which is the order that the kernel needs.
func complete(files []File) ([]File, error) {
	have := make(map[string]bool, len(files))
	all := slices.Clone(files)
	for _, f := range files {
		switch {
		case !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/":
			return nil, fmt.Errorf("initrd: path %q is not absolute and clean", f.Path)
		case have[f.Path]:
			return nil, fmt.Errorf("initrd: %s is there twice", f.Path)
		case int64(len(f.Data)) > maxFile:
			return nil, fmt.Errorf("initrd: %s has %d bytes, at most 4 GiB fit", f.Path, len(f.Data))
		}
		have[f.Path] = true
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/" && !have[dir]; dir = path.Dir(dir) {
			have[dir] = true
			all = append(all, File{Path: dir, Mode: Directory | 0o755})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

func writeFile(w io.Writer, inode uint32, name string, f File) error {
	links := uint32(1)
	if f.Mode&typeMask == Directory {
		links = 2
	}
	n, err := fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, f.Mode, 0, 0, links, 0, len(f.Data), 0, 0, f.Major, f.Minor, len(name)+1, 0, name)
	if err != nil {
		return err
	}
	if err := pad(w, n); err != nil {
		return err
	}
	if _, err := w.Write(f.Data); err != nil {
		return err
	}
	return pad(w, len(f.Data))
}

// pad fills up to a multiple of four bytes.
func pad(w io.Writer, n int) error {
	_, err := w.Write(make([]byte, -n&3))
	return err
}
