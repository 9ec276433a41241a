package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
)

// TestSharesCarryFiles: both ways, with their owners and modes, and never from
// beyond the directory that is shared. The protocol is left open, and virtiofsd
// is this host's own, written in C, or the one written in Rust.
func TestSharesCarryFiles(t *testing.T) {
	for _, tt := range []struct {
		name, proto, virtiofsd string
		more                   func(*testing.T, *test.Host) (definition string, check func(*test.VM))
	}{
		{"9p", "9p", "/nonexistent", securityModels},
		{"virtiofs", "virtiofs", "", nil},
		{"virtiofs-rust", "virtiofs", rustVirtiofsd(t), translation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proto := tt.proto
			h := host(t)
			for _, dir := range []string{"ro", "rw", "beyond"} {
				if err := os.Mkdir(filepath.Join(h.Dir, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			secret := write(t, filepath.Join(h.Dir, "beyond", "secret"), "the host's\n")
			write(t, filepath.Join(h.Dir, "ro", "file"), "read me\n")
			for link, target := range map[string]string{"absolute": secret, "relative": "../beyond/secret", "dir": "../beyond"} {
				if err := os.Symlink(target, filepath.Join(h.Dir, "rw", link)); err != nil {
					t.Fatal(err)
				}
			}
			more := kernelFor(t, proto)
			if tt.virtiofsd != "" {
				more += fmt.Sprintf("virtiofsd.package = %q\n", tt.virtiofsd)
			}
			checkMore := func(*test.VM) {}
			if tt.more != nil {
				var shares string
				shares, checkMore = tt.more(t, h)
				more += shares
			}
			more += share("auto", "ro", h.Dir+"/ro", "/ro") + "readOnly = true\n" + share("auto", "rw", h.Dir+"/rw", "/rw")
			v := h.Start(define(t, h, "files", more))
			v.WaitReady()
			mountinfo := v.Exec("cat", "/proc/self/mountinfo")
			want := []string{"ro on /ro type " + proto + " (ro)", "rw on /rw type " + proto + " (rw)"}
			if diff := cmp.Diff(want, slices.Concat(reported(t, mountinfo, "/ro"), reported(t, mountinfo, "/rw"))); diff != "" {
				t.Errorf("the guest has other mounts (-want +got):\n%s", diff)
			}
			checkReadOnly(t, h, v)
			checkBothWays(t, h, v)
			checkLinks(t, h, v)
			checkMore(v)

			e := v.Stop()
			checkEnd(t, e, 0)
			const word = "shares go by 9p, which is slower: there is no virtiofsd on this host"
			if got := strings.Contains(e.Stderr, word); got != (proto == "9p") {
				t.Errorf("mvm says %q: %v; want %v", word, got, proto == "9p")
			}
		})
	}
}

// rustVirtiofsd is the directory of the virtiofsd that scripts/setup fetches.
func rustVirtiofsd(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../build/virtiofsd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("%v (run: scripts/setup)", err)
	}
	return dir
}

// made is what of a file can be seen on the host.
type made struct {
	Type     os.FileMode
	Mode     os.FileMode
	UID, GID uint32
}

func look(t *testing.T, file string) made {
	t.Helper()
	fi, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return made{fi.Mode().Type(), fi.Mode().Perm(), st.Uid, st.Gid}
}

// securityModels are shares by 9p with each of them. In the guest they are all
// the same; on the host, owners, modes and links are the guest's own or are noted
// beside files that belong to QEMU's user.
func securityModels(t *testing.T, h *test.Host) (string, func(*test.VM)) {
	if os.Getuid() != 0 {
		t.Fatal("nobody else can give files away (run as root)")
	}
	models := []string{"none", "passthrough", "mapped", "mapped-file"}
	definition := ""
	for _, m := range models {
		if err := os.Mkdir(filepath.Join(h.Dir, m), 0o755); err != nil {
			t.Fatal(err)
		}
		definition += share("9p", m, filepath.Join(h.Dir, m), "/"+m) + fmt.Sprintf("securityModel = %q\n", m)
	}
	return definition, func(v *test.VM) {
		for _, m := range models {
			got := v.Exec("sh", "-c", `cd /`+m+` && umask 0 && echo guest >f && chown 1234:567 f && chmod 0640 f && ln -s target l &&
				cat f && stat -c '%a %u %g' f && readlink l`)
			if want := "guest\n640 1234 567\ntarget\n"; got != want {
				t.Errorf("%s in the guest: %q; want %q", m, got, want)
			}
			file, link := made{0, 0o640, 1234, 567}, made{os.ModeSymlink, 0o777, 0, 0}
			if strings.HasPrefix(m, "mapped") {
				file, link = made{0, 0o600, 0, 0}, made{0, 0o600, 0, 0}
			}
			for name, want := range map[string]made{"f": file, "l": link} {
				if got := look(t, filepath.Join(h.Dir, m, name)); got != want {
					t.Errorf("%s on the host: %s is %+v; want %+v", m, name, got, want)
				}
			}
		}
	}
}

// translation is a share whose owners are others on the host.
func translation(t *testing.T, h *test.Host) (string, func(*test.VM)) {
	if err := os.Mkdir(filepath.Join(h.Dir, "translated"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(h.Dir, "translated"), 4000, 5000); err != nil {
		t.Fatalf("%v (run as root)", err)
	}
	definition := share("virtiofs", "translated", filepath.Join(h.Dir, "translated"), "/translated") +
		"posixAcl = false\nextraArgs = [\"--translate-uid=map:0:4000:1\", \"--translate-gid=map:0:5000:1\"]\n"
	return definition, func(v *test.VM) {
		if got := v.Exec("sh", "-c", "cd /translated && echo guest >f && stat -c '%u %g' . f"); got != "0 0\n0 0\n" {
			t.Errorf("owners in the guest: %q; want root alone", got)
		}
		if got, want := look(t, filepath.Join(h.Dir, "translated", "f")), (made{0, 0o644, 4000, 5000}); got != want {
			t.Errorf("the guest's file on the host is %+v; want %+v", got, want)
		}
	}
}

// checkReadOnly: that the host refuses is seen once the guest's kernel does not.
func checkReadOnly(t *testing.T, h *test.Host, v *test.VM) {
	t.Helper()
	got := v.Exec("sh", "-c", `cat /ro/file; touch /ro/new 2>&1
		mount -o remount,rw /ro && touch /ro/new 2>&1; rm /ro/file 2>&1; mount -o remount,ro /ro`)
	want := "read me\ntouch: /ro/new: Read-only file system\ntouch: /ro/new: Read-only file system\n" +
		"rm: can't remove '/ro/file': Read-only file system\n"
	if got != want {
		t.Errorf("the share that is read-only: %q; want %q", got, want)
	}
	if entries, err := os.ReadDir(filepath.Join(h.Dir, "ro")); len(entries) != 1 || err != nil {
		t.Errorf("it holds %v, %v; want file alone", entries, err)
	}
}

func checkBothWays(t *testing.T, h *test.Host, v *test.VM) {
	t.Helper()
	rw := filepath.Join(h.Dir, "rw")
	script := `umask 0; mkdir /rw/d; echo guest >/rw/d/file; chmod 0640 /rw/d/file; ln /rw/d/file /rw/hard`
	owner := os.Getuid()
	if owner == 0 { // nobody else can give files away
		script += `; chown 1234:567 /rw/d/file`
		owner = 1234
	}
	v.Exec("sh", "-c", script)
	fi, err := os.Stat(filepath.Join(rw, "d", "file"))
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	if b, _ := os.ReadFile(filepath.Join(rw, "hard")); string(b) != "guest\n" || fi.Mode() != 0o640 || int(st.Uid) != owner || st.Nlink != 2 {
		t.Errorf("the guest's file: %q, %v, owner %d, %d names; want \"guest\\n\", 0640, owner %d, 2 names", b, fi.Mode(), st.Uid, st.Nlink, owner)
	}

	write(t, filepath.Join(rw, "from-host"), "host\n")
	if owner == 1234 {
		if err := os.Chown(filepath.Join(rw, "from-host"), 4321, 765); err != nil {
			t.Fatal(err)
		}
	}
	want := "host\n644"
	if owner == 1234 {
		want += " 4321 765"
	}
	script = `cat /rw/from-host; stat -c '%a %u %g' /rw/from-host`
	if got := v.Exec("sh", "-c", script); !strings.HasPrefix(got, want) {
		t.Errorf("the host's file: %q; want %q", got, want)
	}
}

// checkLinks: a link leads to a place in the guest, whoever made it.
func checkLinks(t *testing.T, h *test.Host, v *test.VM) {
	t.Helper()
	rw := filepath.Join(h.Dir, "rw")
	beyond := filepath.Join(h.Dir, "beyond")
	got := v.Exec("sh", "-c", `cd /rw; for f in absolute relative dir/secret ../../../../../..`+beyond+`/secret; do cat $f 2>/dev/null && echo "$f leads out"; done
		mkdir -p /beyond `+beyond+`; echo overwritten >/beyond/secret; echo overwritten >absolute; echo overwritten >relative
		ln -s `+beyond+`/secret made; cat made; echo new >dir/new; ls -l made | sed 's/.*-> //'`)
	if want := "overwritten\n" + beyond + "/secret\n"; got != want {
		t.Errorf("links in the guest: %q; want %q", got, want)
	}
	if b, err := os.ReadFile(filepath.Join(beyond, "secret")); string(b) != "the host's\n" {
		t.Errorf("the file beyond the share is %q now, %v", b, err)
	}
	if entries, _ := os.ReadDir(beyond); len(entries) != 1 {
		t.Errorf("the directory beyond the share holds %v; want secret alone", entries)
	}
	if target, err := os.Readlink(filepath.Join(rw, "made")); target != filepath.Join(beyond, "secret") {
		t.Errorf("the guest's link is %q on the host, %v", target, err)
	}
}
