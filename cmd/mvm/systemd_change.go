package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/state"
)

// A change is one file of systemd's that is to be written, linked or removed. A
// list of them is what "mvm systemd" does, and what --dry-run prints.
type change struct {
	path string
	text string // what it is to hold
	link string // or what it is to be a link to; neither means that it goes
}

// applyAll makes the changes that are left to make, and reports whether there were
// any. It prints them to w, if that is not nil, and then makes none.
func applyAll(changes []change, w io.Writer) (bool, error) {
	var left []change
	for _, c := range changes { // all are looked at before any is made
		if done, err := c.done(); err != nil {
			return false, err
		} else if !done {
			left = append(left, c)
		}
	}
	for _, c := range left {
		if w != nil {
			fmt.Fprint(w, c.describe())
			continue
		}
		if err := c.apply(); err != nil {
			return true, err
		}
	}
	return len(left) > 0, nil
}

// done reports whether there is nothing left to do. The error is for a file
// that is not mvm's to change.
func (c *change) done() (bool, error) {
	if c.link != "" || strings.Contains(filepath.Dir(c.path), ".wants") {
		now, err := os.Readlink(c.path)
		if errors.Is(err, fs.ErrNotExist) {
			return c.link == "", nil
		}
		return err == nil && now == c.link, err
	}
	now, err := os.ReadFile(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.text == "", nil
	case err != nil:
		return false, err
	case !bytes.HasPrefix(now, []byte(unitMark)):
		return false, &vm.HostError{
			Op: "change " + c.path, Err: errors.New("mvm has not written it"),
			Hint: "move it away, or keep it and use systemctl itself",
		}
	}
	return string(now) == c.text, nil
}

func (c *change) apply() error {
	switch {
	case c.link != "":
		if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
			return err
		}
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(c.link, c.path)
	case c.text != "":
		if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
			return err
		}
		return state.Replace(c.path, 0o644, func(f *os.File) error {
			_, err := f.WriteString(c.text)
			return err
		})
	}
	if err := os.Remove(c.path); err != nil {
		return err
	}
	// The directory was made for this file; one that holds more stays.
	if dir := filepath.Dir(c.path); filepath.Ext(dir) == ".d" || filepath.Ext(dir) == ".wants" {
		_ = os.Remove(dir)
	}
	return nil
}

// describe is the change as a person reads it.
func (c *change) describe() string {
	switch {
	case c.link != "":
		return fmt.Sprintf("link %s to %s\n", c.path, c.link)
	case c.text != "":
		return fmt.Sprintf("write %s:\n  %s\n", c.path, strings.ReplaceAll(strings.TrimSuffix(c.text, "\n"), "\n", "\n  "))
	}
	return fmt.Sprintf("remove %s\n", c.path)
}
