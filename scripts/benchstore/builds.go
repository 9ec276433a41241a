package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// A full is one way to make an image of the whole closure.
type full struct {
	name  string
	quick bool // is part of a quick run

	// command makes out of the stage.
	command func(out string) *exec.Cmd
}

// Names that the wants refer to.
const (
	bound      = "cat, all files into one"
	mvmSparse  = "mvm erofs, sparse"
	mvmPacked  = "mvm erofs, packed"
	mkfsErofs  = "mkfs.erofs"
	mvmExt4    = "mvm ext4"
	mkfsExt4   = "mke2fs -d"
	mvmBtrfs   = "mvm btrfs"
	mkfsBtrfs  = "mkfs.btrfs --rootdir"
	mvmSquash  = "mvm squashfs, zstd:1"
	mkfsSquash = "mksquashfs, zstd:1"
	mvmRaw     = "mvm squashfs, none"
	mkfsRaw    = "mksquashfs, none"
)

const catAll = `find "$1" -type f -print0 | xargs -0 cat >"$2"`

// builds makes the stage and returns what is run on it. What this host's tools
// cannot do is said and left out.
func (b *bench) builds() ([]full, error) {
	if err := b.copyClosure(); err != nil {
		return nil, err
	}
	// The first to write after the copy would pay for it.
	if err := b.build(full{command: b.shell(catAll)}); err != nil {
		return nil, err
	}
	// Twice as much room as is needed: the file is sparse, and the time to
	// make an empty file system hardly depends on its size.
	blocks, inodes := b.results.bytes*2>>12, b.results.files+64
	all := []full{
		{bound, true, b.shell(catAll)},
		{mvmSparse, true, b.mvmBuild("")},
		{mvmPacked, true, b.mvmBuild("packed")},
		{mkfsErofs, true, b.tool("mkfs.erofs", "-T1", "--all-root", "-x-1", "--quiet", "OUT", "STAGE")},
		{"mkfs.erofs, lz4", false, b.tool("mkfs.erofs", "-zlz4", "-T1", "--all-root", "-x-1", "--quiet", "OUT", "STAGE")},
		{"mvm erofs, lz4", false, b.mvmBuild("", "-compression", "lz4")},
		{"tar | mkfs.erofs --tar=f", false, b.shell(`tar -C "$1" --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner -cf - . |
			mkfs.erofs --tar=f -T1 --quiet "$2" /dev/stdin`)},
		{mkfsRaw, false, b.tool("mksquashfs", "STAGE", "OUT", "-noappend", "-quiet", "-no-progress", "-all-root", "-no-xattrs",
			"-noI", "-noD", "-noF", "-noX", "-noId")},
		{mvmRaw, false, b.mvmBuild("squashfs", "-compression", "none")},
		{mkfsSquash, false, b.tool("mksquashfs", "STAGE", "OUT", "-noappend", "-quiet", "-no-progress", "-all-root", "-no-xattrs",
			"-comp", "zstd", "-Xcompression-level", "1")},
		{mvmSquash, false, b.mvmBuild("squashfs")},
		{mkfsExt4, false, b.tool("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-m", "0",
			"-N", fmt.Sprint(inodes), "-d", "STAGE", "OUT", fmt.Sprint(blocks))},
		{mvmExt4, false, b.mvmBuild("ext4")},
		{mkfsBtrfs, false, b.tool("mkfs.btrfs", "-q", "--shrink", "--rootdir", "STAGE", "OUT")},
		{mvmBtrfs, false, b.mvmBuild("btrfs")},
	}
	var found []full
	for _, f := range all {
		switch why := lacks(f); {
		case b.quick && !f.quick, f.name != bound && f.name != mkfsErofs && !b.only.MatchString(f.name):
		case why != "":
			b.results.missing = append(b.results.missing, f.name+": "+why)
		default:
			found = append(found, f)
		}
	}
	return found, nil
}

// lacks says what of f this host has not got, or "".
func lacks(f full) string {
	args := f.command("out").Args
	if _, err := exec.LookPath(args[0]); err != nil {
		return args[0] + " is not installed"
	}
	if strings.Contains(f.name, "--tar") {
		// It exits with 1 after its help.
		help, _ := exec.Command("mkfs.erofs", "--help").CombinedOutput()
		if !strings.Contains(string(help), "--tar") {
			// 1.5 says which it is while it complains of the option.
			said, _ := exec.Command("mkfs.erofs", "-V").CombinedOutput()
			version := regexp.MustCompile(`(?m)^mkfs\.erofs .*`).Find(said)
			return fmt.Sprintf("not supported by %s; erofs-utils 1.7 brought it", version)
		}
	}
	return ""
}

// build runs f once and removes what it made.
func (b *bench) build(f full) error {
	out := filepath.Join(b.dir, "out")
	if f.name == mkfsBtrfs { // the tool wants a file to be there
		if err := os.WriteFile(out, nil, 0o644); err != nil {
			return err
		}
	}
	_, err := b.measure(f.name, f.command(out))
	if err == nil {
		s := b.results.series(f.name)
		s.size = diskUse(out)
		log.Printf("%-28s %v", f.name, s.wall[len(s.wall)-1])
	}
	return errors.Join(err, os.RemoveAll(out))
}

// tool is a command in which STAGE and OUT stand for files.
func (b *bench) tool(arg ...string) func(out string) *exec.Cmd {
	return func(out string) *exec.Cmd {
		args := make([]string, len(arg))
		for i, a := range arg {
			args[i] = strings.NewReplacer("STAGE", b.stage, "OUT", out).Replace(a)
		}
		return exec.Command(args[0], args[1:]...)
	}
}

// shell is a script in which $1 and $2 are the stage and the file to make.
func (b *bench) shell(script string) func(out string) *exec.Cmd {
	return func(out string) *exec.Cmd { return exec.Command("sh", "-c", script, "sh", b.stage, out) }
}

// mvmBuild makes an image in an empty cache, as "mvm run" does.
func (b *bench) mvmBuild(typ string, flags ...string) func(out string) *exec.Cmd {
	return func(out string) *exec.Cmd {
		args := append([]string{"-type", typ, "-list", b.list(1), "-store", b.stage}, flags...)
		return workerCommand(append(args, out)...)
	}
}

// diskUse is what a file, or all files in a directory, take up, in bytes.
func diskUse(path string) (n int64) {
	_ = filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			n += st.Blocks * 512
		}
		return nil
	})
	return n
}
