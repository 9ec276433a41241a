package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// askLimit is how long a program may take to print its version or its options:
// a thousand times what it takes, so that only a broken one meets it.
const askLimit = 20 * time.Second

// find returns the path of a program. A name with a slash is a file, or a
// directory that has the program in bin or libexec; an empty name means the
// first of the usual files, and then the program's own name in PATH.
func find(name, program string, usual []string, hint string) (string, error) {
	if name == "" {
		name = program
		for _, path := range usual {
			if _, err := exec.LookPath(path); err == nil {
				return path, nil
			}
		}
	}
	if fi, err := os.Stat(name); err == nil && fi.IsDir() && strings.Contains(name, "/") {
		dir := name
		name = filepath.Join(dir, "bin", program)
		if _, err := os.Stat(name); err != nil {
			name = filepath.Join(dir, "libexec", program)
		}
	}
	path, err := exec.LookPath(name)
	if err == nil {
		// It is not run from this directory.
		return filepath.Abs(path)
	}
	// Op names the program already.
	if ee := (*exec.Error)(nil); errors.As(err, &ee) {
		err = ee.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = exec.ErrNotFound
	}
	if errors.Is(err, fs.ErrPermission) {
		err, hint = fs.ErrPermission, "check that you may execute it"
	}
	return "", &HostError{Op: "find " + name, Err: err, Hint: hint}
}

// ask runs the program with one argument and returns all that it prints.
func ask(ctx context.Context, path, arg string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("no answer within %v", askLimit))
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arg)
	cmd.Dir = "/"
	cmd.WaitDelay = lingering
	out, err := cmd.CombinedOutput()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	// Some programs print their help and fail.
	if ee := (*exec.ExitError)(nil); errors.As(err, &ee) && len(out) > 0 {
		err = nil
	}
	if err != nil {
		return "", &HostError{Op: "ask " + path + " for its " + strings.TrimLeft(arg, "-"), Err: err,
			Hint: "check that it is the program that it should be, for this kind of host"}
	}
	return string(out), nil
}
