package sidecar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/sidecar"
)

// findDaemons returns a virtiofsd of each kind: this host's own, and the one that
// scripts/setup fetches.
func findDaemons(t *testing.T) map[sidecar.Kind]*sidecar.Daemon {
	t.Helper()
	found := make(map[sidecar.Kind]*sidecar.Daemon)
	for _, name := range []string{"", "../../build/virtiofsd"} {
		d, err := sidecar.FindVirtiofsd(t.Context(), name)
		if err != nil {
			t.Fatalf("%v (run: scripts/setup)", err)
		}
		found[d.Kind] = d
	}
	return found
}

// shares starts a daemon for each share and gives the machine its sockets.
func shares(t *testing.T, d *sidecar.Daemon, list ...sidecar.Virtiofsd) (qemu.Machine, map[string]*os.File, map[string]*sidecar.Helper) {
	t.Helper()
	var m qemu.Machine
	files, helpers := make(map[string]*os.File), make(map[string]*sidecar.Helper)
	for _, v := range list {
		v.Dir = t.TempDir()
		h, conn, err := d.Start(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s:\n%s", h.Name(), h.Stderr())
			}
			if err := h.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
		m.Shares = append(m.Shares, qemu.Share{Tag: v.Share, SocketFile: "fs-" + v.Share})
		files["fs-"+v.Share], helpers[v.Share] = conn, h
	}
	return m, files, helpers
}

func TestGuestUsesShares(t *testing.T) {
	for kind, d := range findDaemons(t) {
		t.Run(string(kind), func(t *testing.T) { guestUsesShares(t, d) })
	}
}

func guestUsesShares(t *testing.T, d *sidecar.Daemon) {
	base := t.TempDir()
	rw, ro := filepath.Join(base, `read,write it\`), filepath.Join(base, "ro")
	for _, dir := range []string{rw, ro, filepath.Join(ro, "disk")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(rw, "from-host"), "hello, guest\n", 0o640)
	if err := os.Chown(filepath.Join(rw, "from-host"), 42, 43); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"absolute": "/etc/debian_version", "relative": "../../../../../etc/debian_version"} {
		if err := os.Symlink(target, filepath.Join(rw, name)); err != nil {
			t.Fatal(err)
		}
	}
	// What is mounted below a read-only share is read-only, too.
	if err := unix.Mount("tmpfs", filepath.Join(ro, "disk"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(ro, "disk"), 0); err != nil {
			t.Errorf("unmount what lies below the read-only share: %v", err)
		}
	})
	write(t, filepath.Join(ro, "file"), "kept\n", 0o666)
	write(t, filepath.Join(ro, "disk/file"), "kept, too\n", 0o666)

	m, files, helpers := shares(t, d,
		sidecar.Virtiofsd{Share: "store", Source: makeStore(t), ReadOnly: true, Cache: "always"},
		sidecar.Virtiofsd{Share: "rw", Source: rw, PosixACL: true, FileHandles: "prefer", Threads: 2},
		sidecar.Virtiofsd{Share: "ro", Source: ro, ReadOnly: true, Cache: "never"},
	)
	g := boot(t, m, map[string]string{"store": "/nix/store", "rw": "/rw", "ro": "/ro"}, files)

	g.want("cat /rw/from-host; stat -c '%u %g %a' /rw/from-host", "hello, guest\n42 43 640")
	g.want("echo hello, host > /rw/from-guest && chown 1234:5678 /rw/from-guest && mkdir /rw/dir && cat /rw/from-guest", "hello, host")
	if b, err := os.ReadFile(filepath.Join(rw, "from-guest")); string(b) != "hello, host\n" {
		t.Errorf("the guest's file = %q, %v; want its line", b, err)
	}
	fi, err := os.Stat(filepath.Join(rw, "from-guest"))
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 5678 {
		t.Errorf("the guest's file belongs to %d:%d; want 1234:5678", st.Uid, st.Gid)
	}

	// Links are followed in the guest, where there is nothing.
	g.want("cat /rw/absolute", "cat: can't open '/rw/absolute': No such file or directory")
	g.want("cat /rw/relative", "cat: can't open '/rw/relative': No such file or directory")

	// The guest's kernel thinks that it may write: only the host refuses.
	g.want(`while read what where type options; do test $what = ro && echo $options; done < /proc/mounts`, "rw,relatime 0 0")
	for _, dir := range []string{"/ro", "/ro/disk"} {
		g.want("touch "+dir+"/new", "touch: "+dir+"/new: Read-only file system")
		g.want("echo changed > "+dir+"/file", sh+": can't create "+dir+"/file: Read-only file system")
		g.want("rm "+dir+"/file", "rm: can't remove '"+dir+"/file': Read-only file system")
		g.want("chown 1 "+dir+"/file", "chown: "+dir+"/file: Read-only file system")
	}
	g.want("cat /ro/file /ro/disk/file", "kept\nkept, too")
	g.want(`test $(stat -c %d /ro) != $(stat -c %d /ro/disk) && echo two file systems`, "two file systems")
	write(t, filepath.Join(ro, "disk/new"), "the host may write\n", 0o644)
	g.want("cat /ro/disk/new", "the host may write")

	// One daemon's death leaves the guest and the other shares alone.
	h := helpers["rw"]
	killed := time.Now()
	if err := unix.Kill(h.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.Done():
		t.Logf("the death was known after %v", time.Since(killed))
	case <-time.After(bootLimit):
		t.Fatal("the daemon's death was not noticed")
	}
	died := (*sidecar.Died)(nil)
	if !errors.As(h.Err(), &died) || died.Name != "virtiofsd of share rw" || died.Signal != syscall.SIGKILL {
		t.Errorf("Err() = %v; want a death of virtiofsd of share rw by signal 9", h.Err())
	}
	g.want("cat /ro/file", "kept")
	for _, name := range []string{"store", "ro"} {
		if err := helpers[name].Err(); err != nil {
			t.Errorf("Err() of share %s = %v; want nil", name, err)
		}
	}

	// The guest cannot be asked to power off: what syncs waits for the dead
	// share for ever. The daemons end with QEMU.
	if err := g.proc.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"store", "ro"} {
		select {
		case <-helpers[name].Done():
		case <-time.After(bootLimit):
			t.Fatalf("the daemon of share %s outlives QEMU", name)
		}
	}
	if strings.Contains(g.console.String(), "Kernel panic") {
		t.Error("the guest's kernel panicked")
	}
}
