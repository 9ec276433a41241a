package storedisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// makeSquashfs makes a squashfs image with mksquashfs, or with gensquashfs if
// there is only that, or flags of its are given.
//
// Both read the store paths where they are. squashfs has neither label nor
// UUID; both tools sort names and number files by them.
func (j *job) makeSquashfs(ctx context.Context) error {
	if _, err := j.cache.tool("mksquashfs"); err == nil && len(j.opts.SquashfsFlags) == 0 {
		return j.runMksquashfs(ctx)
	}
	return j.runGensquashfs(ctx)
}

func (j *job) runMksquashfs(ctx context.Context) error {
	// Names instead of paths keep the command line as short as can be: two
	// megabytes are 40,000 paths.
	args := append([]string{}, j.closure.Names...)
	args = append(args, j.temp,
		"-noappend", "-quiet", "-no-progress",
		"-keep-as-directory", // also if there is only one
		"-exit-on-error",     // instead of an empty file in place of an unreadable one
		"-no-hardlinks",      // whether the host's store is optimised must not show
		"-all-root", "-all-time", "1", "-mkfs-time", "1", "-root-mode", "755", "-no-xattrs")
	if j.opts.Jobs > 0 {
		args = append(args, "-processors", strconv.Itoa(j.opts.Jobs))
	}
	switch comp, _ := j.opts.compression(); {
	case comp.Algorithm == "":
		args = append(args, "-noI", "-noD", "-noF", "-noX", "-noId")
	case comp.Level == "":
		args = append(args, "-comp", comp.Algorithm)
	default:
		args = append(args, "-comp", comp.Algorithm, "-Xcompression-level", comp.Level)
	}
	return j.run(ctx, toolRun{name: "mksquashfs", args: args, dir: j.closure.StoreDir})
}

func (j *job) runGensquashfs(ctx context.Context) error {
	args := append([]string{}, j.opts.SquashfsFlags...)
	if len(args) == 0 {
		switch comp, _ := j.opts.compression(); {
		case comp.Algorithm == "":
			return &HostError{
				Op: "make an uncompressed squashfs", Err: errors.New("gensquashfs cannot"),
				Hint: "install the package squashfs-tools (apt install squashfs-tools)",
			}
		case comp.Level == "":
			args = append(args, "-c", comp.Algorithm)
		default:
			args = append(args, "-c", comp.Algorithm, "-X", "level="+comp.Level)
		}
		if j.opts.Jobs > 0 {
			args = append(args, "-j", strconv.Itoa(j.opts.Jobs))
		}
	}
	list, err := j.packList(ctx)
	if err != nil {
		return err
	}
	file := hidden(j.path, stageSuffix)
	defer os.Remove(file)
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		return err
	}
	args = append(args, "-F", file, "-d", "mtime=1,uid=0,gid=0,mode=0755", "--all-root", "-f", "-q", j.temp)
	return j.run(ctx, toolRun{name: "gensquashfs", args: args, env: []string{"SOURCE_DATE_EPOCH=1"}})
}

// packList describes the image to gensquashfs, one entry to a line.
func (j *job) packList(ctx context.Context) (string, error) {
	var b strings.Builder
	err := j.walk(ctx, func(e entry) error {
		if strings.Contains(e.path+e.target, "\n") {
			return fmt.Errorf("%s: gensquashfs cannot take a name with a line break; mksquashfs can", e.source)
		}
		name := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(e.path) + `"`
		switch {
		case e.mode.IsDir():
			fmt.Fprintf(&b, "dir %s %04o 0 0\n", name, e.mode.Perm())
		case e.mode&fs.ModeSymlink != 0:
			fmt.Fprintf(&b, "slink %s 0777 0 0 %s\n", name, e.target)
		default:
			fmt.Fprintf(&b, "file %s %04o 0 0 %s\n", name, e.mode.Perm(), e.source)
		}
		return nil
	})
	return b.String(), err
}

// stageSuffix marks what a tool needs to read besides the closure.
const stageSuffix = ".stage"
