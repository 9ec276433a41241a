package test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// checkLeftovers fails the test if anything is left of its machines but what is
// meant to last: volumes, console logs, exits, and finished store disks.
func (h *Host) checkLeftovers() {
	h.t.Helper()
	for _, p := range h.processes() {
		h.t.Errorf("left behind: process %s", p)
	}
	// Mounts, and sockets that somebody has bound.
	for _, table := range []string{"/proc/self/mountinfo", "/proc/net/unix"} {
		b, err := os.ReadFile(table)
		if err != nil {
			h.t.Error(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, filepath.Dir(h.dirs.State)+"/") {
				h.t.Errorf("left behind: in %s: %s", table, line)
			}
		}
	}
	h.checkEmpty(h.dirs.Runtime)
	h.checkEmpty(h.tmp)
	// Names that begin with a dot are files in the making.
	for _, dir := range []string{h.dirs.State, h.dirs.Cache} {
		h.walk(dir, func(path string) {
			if strings.HasPrefix(filepath.Base(path), ".") {
				h.t.Errorf("left behind: %s", path)
			}
		})
	}
	machines, err := os.ReadDir(h.dirs.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Error(err)
	}
	for _, m := range machines {
		if locked, err := h.dirs.Machine(m.Name()).Running(); locked || err != nil {
			h.t.Errorf("left behind: the lock of %s: held is %v, %v", m.Name(), locked, err)
		}
	}
}

func (h *Host) checkEmpty(dir string) {
	h.t.Helper()
	h.walk(dir, func(path string) {
		if path != dir {
			h.t.Errorf("left behind: %s", path)
		}
	})
}

func (h *Host) walk(dir string, f func(path string)) {
	h.t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			f(path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Error(err)
	}
}

// processes lists the processes that this host's mvm started: they have its
// directories in their environment or their arguments.
func (h *Host) processes() []string {
	var found []string
	mark := []byte(filepath.Dir(h.dirs.State) + "/")
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		environ, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if bytes.Contains(args, mark) || bytes.Contains(environ, mark) {
			found = append(found, e.Name()+": "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}
