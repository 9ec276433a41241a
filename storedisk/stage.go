package storedisk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// copyTo copies the closure into a new directory, with its modes.
func (j *job) copyTo(ctx context.Context, stage string) error {
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	var dirs []entry
	err := j.walk(ctx, func(e entry) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		to := stage + e.path
		switch {
		case e.mode.IsDir():
			dirs = append(dirs, e) // closed when all is in them
			return os.Mkdir(to, 0o700)
		case e.mode&fs.ModeSymlink != 0:
			return os.Symlink(e.target, to)
		}
		return copyFile(e.source, to, e.mode.Perm())
	})
	for _, e := range dirs {
		if err == nil {
			err = os.Chmod(stage+e.path, e.mode.Perm())
		}
	}
	return err
}

// copyFile copies a file, sharing its blocks if that is possible.
func copyFile(from, to string, perm fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = io.Copy(out, in)
	}
	return errors.Join(err, out.Chmod(perm), out.Close())
}

// removeStage removes a directory whose own directories may be read-only.
func removeStage(stage string) error {
	err := filepath.WalkDir(stage, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(p, 0o700)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(stage)
}

// shellQuote writes s as one word of a shell command.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
