package storedisk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// packages are the Debian packages of the tools that are run.
var packages = map[string]string{
	"mkfs.erofs": "erofs-utils", "fsck.erofs": "erofs-utils",
	"mksquashfs": "squashfs-tools", "unsquashfs": "squashfs-tools", "gensquashfs": "squashfs-tools-ng",
	"mke2fs": "e2fsprogs", "debugfs": "e2fsprogs", "e2fsck": "e2fsprogs",
	"btrfs": "btrfs-progs", "sh": "dash",
}

// tool returns the path of a command, or an error that names its package.
func (c *Cache) tool(name string) (string, error) {
	find := c.Tool
	if find == nil {
		find = findTool
	}
	path, err := find(name)
	if err != nil {
		return "", &HostError{
			Op: "find " + name, Err: exec.ErrNotFound,
			Hint: fmt.Sprintf("install the package %s (apt install %[1]s)", packages[name]),
		}
	}
	return path, nil
}

// sbin are an administrator's commands, which are not on every user's search
// path.
var sbin = []string{"/usr/sbin", "/sbin"}

func findTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range sbin {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// A toolRun is a command that works on an image.
type toolRun struct {
	name string // as in packages
	args []string
	what string // the name in errors; empty means name
	dir  string
	env  []string // besides what every tool gets

	// quiet says that the tool reports errors on standard error only, behind
	// a first line with its name, and not by its exit status.
	quiet bool

	// namespace gives the tool mounts of its own, and userns the right to
	// make them if the caller has none.
	namespace, userns bool
}

// errStart says that a command did not run at all.
var errStart = errors.New("could not be started")

// run runs a tool that writes j's image, and says meanwhile how much it has
// written. The tool ends when this process does; until it has, it holds the
// builder's lock, so that nobody takes the file from under it.
func (j *job) run(ctx context.Context, r toolRun) error {
	// Held open, the file takes up its room even if the tool removes it after
	// an error, so that it can be seen whether that was the error.
	f, err := os.OpenFile(j.temp, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond) // what an eye can follow
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			var st unix.Stat_t
			if unix.Stat(j.temp, &st) == nil {
				j.progress("writing", st.Blocks*512, 0)
			}
		}
	})
	defer wg.Wait()
	defer close(done)
	_, err = j.cache.runTool(ctx, r, j.lock)
	if err != nil && !noSpace(err) && full(j.temp) {
		err = fmt.Errorf("%w: %w", err, unix.ENOSPC) // not every tool says why
	}
	return err
}

// runTool runs a tool to its end and returns its output. The environment is the
// same everywhere, so that the tool says and does the same.
func (c *Cache) runTool(ctx context.Context, r toolRun, lock *os.File) ([]byte, error) {
	path, err := c.tool(r.name)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, r.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, &stdout, &stderr
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC0"}, r.env...)
	cmd.SysProcAttr = r.attr()
	if lock != nil {
		cmd.ExtraFiles = []*os.File{lock}
	}
	c.log().Debug("running tool", "command", path, "arguments", len(r.args))

	// The signal of Pdeathsig comes when the thread ends that forked, so it
	// must not before the child has: go.dev/issue/27505.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err = cmd.Start(); err != nil {
		err = fmt.Errorf("%w: %w", errStart, err)
	} else {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return stdout.Bytes(), r.verdict(err, stdout.String(), stderr.String())
}

func (r *toolRun) attr() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if r.namespace {
		a.Cloneflags |= unix.CLONE_NEWNS
	}
	if r.userns {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// verdict makes an error of how a tool ended and what it printed.
func (r *toolRun) verdict(err error, stdout, stderr string) error {
	if r.quiet {
		_, stderr, _ = strings.Cut(stderr, "\n")
		if err == nil && stderr != "" {
			err = errors.New("it could not write everything")
		}
	}
	if err == nil {
		return nil
	}
	if strings.Contains(stderr, "No space left on device") {
		err = unix.ENOSPC
	}
	if stderr == "" {
		stderr = stdout
	}
	return fmt.Errorf("%s: %w%s", cmp.Or(r.what, r.name), err, said(stderr))
}

// said returns what a command printed as the rest of a sentence: the last
// lines, where the reason usually is.
func said(output string) string {
	const lines = 5
	s := strings.FieldsFunc(output, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(s) == 0 {
		return ""
	}
	return ": " + strings.Join(s[max(0, len(s)-lines):], "; ")
}
