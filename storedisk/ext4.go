package storedisk

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// makeExt4 makes an ext4 image: mke2fs makes an empty file system, and debugfs
// fills it by a script.
//
// "mke2fs -d" would do both, but puts files where the order of the host's
// directories has them, and owners and times as the host has them. A script
// has the order that is wanted. It is e2fsprogs' own code that writes the files
// either way, and neither needs to be root or to mount anything.
func (j *job) makeExt4(ctx context.Context) error {
	if _, err := j.cache.tool("debugfs"); err != nil {
		return err
	}
	script, size, err := j.ext4Script(ctx)
	if err != nil {
		return err
	}
	if err := j.makeEmptyExt4(ctx, size); err != nil {
		return err
	}
	return j.runDebugfs(ctx, script)
}

// fakeTime is the clock of e2fsprogs.
var fakeTime = []string{"E2FSPROGS_FAKE_TIME=1"}

func (j *job) makeEmptyExt4(ctx context.Context, size ext4Size) error {
	// The features are those that a reader gains from. There is no journal, as
	// nothing will be written; no room for growing; no index of directories,
	// which debugfs does not make.
	const features = "none,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,uninit_bg"
	return j.run(ctx, toolRun{
		name: "mke2fs",
		args: []string{
			"-q", "-F", "-t", "ext2", "-O", features,
			"-b", strconv.Itoa(ext4Block), "-I", strconv.Itoa(ext4Inode), "-N", strconv.FormatInt(size.inodes, 10), "-m", "0",
			"-L", Label, "-U", uuidString(j.key.uuid()),
			"-E", "lazy_itable_init=1,nodiscard,root_owner=0:0,hash_seed=" + uuidString(j.key.seed()),
			j.temp, strconv.FormatInt(size.blocks(), 10),
		},
		// The host's defaults must not show.
		env: append([]string{"MKE2FS_CONFIG=/dev/null"}, fakeTime...),
	})
}

func (j *job) runDebugfs(ctx context.Context, script string) error {
	file := hidden(j.path, stageSuffix)
	defer os.Remove(file)
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return err
	}
	r := toolRun{name: "debugfs", args: []string{"-w", "-f", file, j.temp}, env: fakeTime, quiet: true}
	// debugfs goes on after an error, and then reports success.
	return j.run(ctx, r)
}

// ext4Script returns the commands that fill the file system, and what room it
// needs.
func (j *job) ext4Script(ctx context.Context) (string, ext4Size, error) {
	// mke2fs makes a directory for finds of fsck, which is not of the store.
	// The flag says how names would be hashed, which mke2fs takes from the
	// sign of the build host's characters.
	var b strings.Builder
	b.WriteString("rmdir lost+found\nset_super_value flags 1\n")
	var size ext4Size
	var cwd []string
	leave := func(depth int) {
		for len(cwd) > depth {
			b.WriteString("cd ..\n")
			cwd = cwd[:len(cwd)-1]
		}
	}
	err := j.walk(ctx, func(e entry) error {
		parts := strings.Split(e.path[1:], "/")
		leave(len(parts) - 1)
		base := parts[len(parts)-1]
		size.add(len(parts)-1, e)
		start := b.Len()
		switch {
		case e.mode.IsDir():
			// "./" keeps debugfs from taking "<8>" for an inode's number.
			fmt.Fprintf(&b, "mkdir %s\ncd %s\nset_inode_field . mode 0%o\n", quote("./"+base), quote("./"+base), ext4Dir|e.mode.Perm())
			cwd = append(cwd, base)
		case e.mode&fs.ModeSymlink != 0:
			fmt.Fprintf(&b, "symlink %s %s\n", quote(base), quote(e.target))
		default:
			fmt.Fprintf(&b, "write %s %s\n", quote(e.source), quote(base))
			if e.mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
				fmt.Fprintf(&b, "set_inode_field %s mode 0%o\n", quote("./"+base), ext4File|e.mode.Perm())
			}
		}
		// debugfs reads lines of BUFSIZ, and knows no escape for their end.
		const line = 8000
		if strings.Contains(e.source+e.target, "\n") || b.Len()-start > line {
			return fmt.Errorf("%s: debugfs cannot take a name with a line break, or one that long: use another type of disk", e.source)
		}
		return nil
	})
	size.finish()
	return b.String(), size, err
}

// File types as they stand in an inode's mode.
const (
	ext4Dir  = 0o040000
	ext4File = 0o100000
)

// quote writes an argument for debugfs, in which a quote is doubled.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
