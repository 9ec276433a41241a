package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// own are the files that mvm itself keeps in a machine's state directory. What
// else is there are volumes, or somebody's files.
func (m Machine) own(name string) bool {
	for _, path := range []string{m.ConsoleLog(), m.LastExit(), m.Events(), m.GCRoots(), m.LockFile()} {
		base := filepath.Base(path)
		if name == base || strings.HasPrefix(name, base+".") || strings.HasPrefix(name, "."+base+".") {
			return true
		}
	}
	return false
}

// Volumes lists what the machine's state directory holds beside what mvm keeps
// there itself: the images of its volumes. Those that the definition has
// elsewhere are not among them.
func (m Machine) Volumes() ([]string, error) {
	entries, err := os.ReadDir(m.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if !m.own(e.Name()) {
			paths = append(paths, filepath.Join(m.State, e.Name()))
		}
	}
	return paths, nil
}

// Remove removes what is kept of the machine: its run-time directory and its
// state directory, in which its volumes stay unless they are to go too. Only the
// holder of the lock may call it; the lock's file goes last.
func (m Machine) Remove(volumes bool) error {
	if err := m.RemoveRuntime(); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.State)
	if err != nil {
		return err
	}
	lock := filepath.Base(m.LockFile())
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == lock || !volumes && !m.own(e.Name())
	})
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(m.State, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(m.LockFile()); err != nil {
		return err
	}
	if err := os.Remove(m.State); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}
