package qemu

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/test/hugepages"
)

// TestRealQEMUAcceptsEveryCommandLine starts each machine of the golden files
// far enough for its devices to exist, and quits.
func TestRealQEMUAcceptsEveryCommandLine(t *testing.T) {
	for _, s := range samples {
		if _, ok := elsewhere[s.needs]; ok {
			continue
		}
		t.Run(s.golden, func(t *testing.T) {
			m := s.machine()
			files := fit(t, &s, &m)
			if s.needs != "" {
				t.Skipf("this test cannot provide %s", s.needs)
			}
			accepts(t, m, files)
		})
	}
}

// elsewhere is what a machine may need that hosts of tests do not have to spare.
// The guest of test's TestHostInAGuest has it, where the functions make it ready;
// those that are nil are seen there with machines of mvm's own making.
var elsewhere = map[string]func(*testing.T, *Machine) map[string]*os.File{
	"/dev/vhost-vsock": nil, "/dev/vhost-net": nil, "a block device": nil, "a device to give away": nil,
}

// accepts starts a machine and ends it.
func accepts(t *testing.T, m Machine, files map[string]*os.File) {
	t.Helper()
	p := startReal(t, m, StartOptions{Files: files})
	if err := p.QMP().Quit(limited(t)); err != nil {
		t.Error(err)
	}
	if err := p.Wait(limited(t)); err != nil {
		t.Error(err)
	}
	if said := p.Stderr(); said != "" {
		t.Errorf("QEMU complains: %s", said)
	}
}

// fit gives a sample's machine what the host must have for it, and clears
// s.needs when that is everything. It changes what the files are called and
// nothing else.
func fit(t *testing.T, s *sample, m *Machine) map[string]*os.File {
	t.Helper()
	m.Kernel, m.Initrd, m.Append = "", "", ""
	files := map[string]*os.File{}
	dir := t.TempDir()
	switch s.needs {
	case "":
		if m.MonitorFile != "" {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "qmp")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			if files[m.MonitorFile], err = l.File(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range m.Credentials {
			if c.File != "" {
				files[c.File] = image(t, filepath.Join(dir, "credential"), 10)
			}
		}
		for _, n := range m.NICs {
			if n.Stream != nil {
				ours, theirs, err := socketPair("stream")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { ours.Close() })
				files[n.Stream.File] = theirs
			}
		}
	case "images":
		for i := range m.Drives {
			d := &m.Drives[i]
			d.Path = filepath.Join(dir, filepath.Base(d.Path))
			f := image(t, d.Path, 1<<20)
			if d.Format == "qcow2" {
				qemuImg(t, d.Path)
			}
			if d.File != "" {
				files[d.File] = readOnly(t, d.Path)
			}
			f.Close()
		}
		if IOUring() != nil {
			for i := range m.Drives {
				m.Drives[i].AIO = strings.Replace(m.Drives[i].AIO, "io_uring", "", 1)
			}
		}
		s.needs = ""
	case "huge pages":
		hugepages.Reserve(t, m.Mem+m.HotplugMem)
		if err := m.CheckHugePages(); err != nil {
			t.Errorf("CheckHugePages() = %v; want nil", err)
		}
		s.needs = ""
	case "taps":
		for _, n := range m.NICs {
			for _, name := range n.Tap.Files {
				files[name] = tap(t, strings.Fields(name)[0], len(n.Tap.Files) > 1)
			}
		}
		s.needs = ""
	case "virtiofsd":
		for i := range m.Shares {
			sh := &m.Shares[i]
			socket := filepath.Join(dir, fmt.Sprint(i))
			serve(t, socket, dir)
			if sh.SocketFile == "" {
				sh.Socket = socket
				continue
			}
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			f, err := conn.(*net.UnixConn).File()
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			files[sh.SocketFile] = f
		}
		if m.HugePages {
			hugepages.Reserve(t, m.mem())
		}
		s.needs = ""
	}
	return files
}

func image(t *testing.T, path string, size int64) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func readOnly(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// aside runs f where no network of this host is.
var aside = sync.OnceValue(func() func(f func()) {
	work := make(chan func())
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // the thread is spoilt for others
		err := unix.Unshare(unix.CLONE_NEWNET)
		for f := range work {
			if err == nil {
				f()
			}
			done <- struct{}{}
		}
	}()
	return func(f func()) {
		work <- f
		<-done
	}
})

// tap returns a queue of a tap in a network namespace of its own.
func tap(t *testing.T, name string, multi bool) (f *os.File) {
	t.Helper()
	aside()(func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			if multi {
				flags |= unix.IFF_MULTI_QUEUE
			}
			ifr.SetUint16(flags)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			unix.Close(fd)
			return
		}
		f = os.NewFile(uintptr(fd), name)
	})
	if f == nil {
		t.Skip("no tap can be made here: run as root where /dev/net/tun exists")
	}
	return f
}

func qemuImg(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "1M").CombinedOutput(); err != nil {
		t.Fatalf("%v (install qemu-utils)\n%s", err, out)
	}
}

// serve starts a virtiofs server for dir on socket, which takes connections when
// serve returns.
func serve(t *testing.T, socket, dir string) {
	t.Helper()
	const server = "/usr/lib/qemu/virtiofsd"
	if _, err := os.Stat(server); err != nil {
		t.Skipf("%v: install a qemu-system-common of Debian 12 to run this", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false) // it is the server's now
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(server, "--fd=3", "-o", "source="+dir, "-o", "sandbox=chroot")
	cmd.ExtraFiles = []*os.File{f}
	c, err := startChild(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
}
