package storedisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/mvmrun/mvm/storedisk/erofs"
)

// makeCompressedErofs makes an erofs image with mkfs.erofs, which compresses.
func (j *job) makeCompressedErofs(ctx context.Context) error {
	// mkfs.erofs -T would do for times, but -L came with 1.6 only. Label and
	// UUID are put in afterwards, so that they are right with any.
	args := []string{"-T1", "--all-root", "-x-1", "--quiet", "-U", uuidString(j.key.uuid())}
	args = append(args, j.opts.ErofsFlags...)
	if comp, _ := j.opts.compression(); comp.Algorithm != "" {
		flag := "-z" + comp.Algorithm
		if comp.Level != "" {
			flag += "," + comp.Level
		}
		args = append(args, flag)
	}
	if err := j.runOnStage(ctx, "mkfs.erofs", func(stage string) []string {
		return append(args, j.temp, stage)
	}); err != nil {
		return err
	}
	f, err := os.OpenFile(j.temp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(erofs.SetLabelUUID(f, Label, j.key.uuid()), f.Close())
}

// runOnStage runs a tool that can only make an image of one directory, on a
// directory that holds the closure and nothing else.
//
// The store paths are bind mounts there, seen by the tool alone. Where mounts
// are not allowed, they are copies beside the image, which share their blocks
// with the originals if the file system can do that.
func (j *job) runOnStage(ctx context.Context, name string, args func(stage string) []string) error {
	path, err := j.cache.tool(name)
	if err != nil {
		return err
	}
	stage := hidden(j.path, stageSuffix)
	if err := removeStage(stage); err != nil {
		return err
	}
	defer removeStage(stage)

	script, err := j.mountPoints(stage)
	if err != nil {
		return err
	}
	for _, a := range append([]string{path}, args(stage)...) {
		script += " " + shellQuote(a)
	}
	for _, user := range []bool{false, true} {
		err = j.run(ctx, toolRun{name: "sh", what: name, args: []string{"-c", script}, namespace: true, userns: user})
		if !mountRefused(err) {
			return err
		}
	}
	j.cache.log().Info("copying the closure: bind mounts are not allowed here", "reason", err, "to", stage)
	if err := removeStage(stage); err != nil {
		return err
	}
	if err := j.copyTo(ctx, stage); err != nil {
		return err
	}
	return j.run(ctx, toolRun{name: name, args: args(stage)})
}

// refused is the exit status of a script that could not mount.
const refused = 99

// mountRefused reports whether a namespace or a mount in it could not be had.
func mountRefused(err error) bool {
	ee := (*exec.ExitError)(nil)
	if errors.As(err, &ee) {
		return ee.ExitCode() == refused
	}
	return errors.Is(err, errStart) || errors.Is(err, exec.ErrNotFound)
}

// mountPoints makes a directory with a place for each store path, and returns
// the beginning of a shell command that mounts them.
func (j *job) mountPoints(stage string) (string, error) {
	if err := os.Mkdir(stage, 0o755); err != nil {
		return "", err
	}
	var script strings.Builder
	script.WriteString(fmt.Sprintf("mount --make-rprivate / || exit %d\n", refused))
	for _, name := range j.closure.Names {
		from, to := j.closure.Path(name), stage+"/"+name
		fi, err := os.Lstat(from)
		switch {
		case err != nil:
		case fi.IsDir():
			err = os.Mkdir(to, 0o755)
		case fi.Mode().IsRegular():
			err = os.WriteFile(to, nil, 0o644)
		default:
			// A mount would follow the link, so it is copied.
			target, e := os.Readlink(from)
			if err = e; err == nil {
				err = os.Symlink(target, to)
			}
			from = ""
		}
		if err != nil {
			return "", err
		}
		if from != "" {
			script.WriteString(fmt.Sprintf("mount --bind %s %s || exit %d\n", shellQuote(from), shellQuote(to), refused))
		}
	}
	return script.String() + "exec", nil
}
