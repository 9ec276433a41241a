//go:build hostguest

package qemu

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRealQEMUOnAHostWithDevices is TestRealQEMUAcceptsEveryCommandLine for the
// machines of which a host must have the devices. It runs in the guest of test's
// TestHostInAGuest, and leaves that changed.
func TestRealQEMUOnAHostWithDevices(t *testing.T) {
	for _, s := range samples {
		prepare, ok := elsewhere[s.needs]
		if !ok || prepare == nil {
			continue
		}
		t.Run(s.golden, func(t *testing.T) {
			m := s.machine()
			m.Kernel, m.Initrd, m.Append = "", "", ""
			files := prepare(t, &m)
			accepts(t, m, files)
		})
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func init() {
	elsewhere["/dev/vhost-vsock"] = func(t *testing.T, m *Machine) map[string]*os.File {
		if m.Vsock.File == "" {
			return nil
		}
		return map[string]*os.File{m.Vsock.File: open(t, "/dev/vhost-vsock")}
	}
	elsewhere["/dev/vhost-net"] = func(t *testing.T, m *Machine) map[string]*os.File {
		files := map[string]*os.File{}
		for _, n := range m.NICs {
			for i := range n.Tap.Files {
				files[n.Tap.Files[i]] = tap(t, strings.Fields(n.Tap.Files[i])[0], len(n.Tap.Files) > 1)
				files[n.Tap.VhostFiles[i]] = open(t, "/dev/vhost-net")
			}
		}
		return files
	}
	elsewhere["a block device"] = func(t *testing.T, m *Machine) map[string]*os.File {
		control := open(t, "/dev/loop-control")
		defer control.Close()
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		m.Drives[0].Path = "/dev/loop" + strconv.Itoa(n)
		loop := open(t, m.Drives[0].Path)
		defer loop.Close()
		file := image(t, filepath.Join(t.TempDir(), "image"), 1<<20)
		defer file.Close()
		if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
			t.Fatal(err)
		}
		return nil
	}
}
