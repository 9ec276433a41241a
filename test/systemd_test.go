package test_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
	volumes "github.com/mvmrun/mvm/vm/volume"
)

// madeSystemd is what test/systemd/build.sh makes, for the first test that wants
// it.
var madeSystemd struct {
	sync.Once
	err error
}

// systemd is the folder with a system of Debian's systemd and its initrd.
func systemd(t *testing.T) string {
	t.Helper()
	madeSystemd.Do(func() {
		cmd := exec.Command("systemd/build.sh")
		if out, err := cmd.CombinedOutput(); err != nil {
			madeSystemd.err = fmt.Errorf("test/systemd/build.sh: %w (run: scripts/setup)\n%s", err, out)
		}
	})
	dir, err := filepath.Abs("../build/systemd")
	if err == nil {
		err = madeSystemd.err
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// waysIn are the two ways by which a guest of systemd may boot, as lines of its
// definition.
func waysIn(t *testing.T) map[string]string {
	return map[string]string{
		"direct": "",
		"initrd": fmt.Sprintf("initrdPath = %q\n", filepath.Join(systemd(t), "initrd")),
	}
}

// defineSystemd writes a definition of the guest of systemd, with more lines for it.
func defineSystemd(t *testing.T, h *test.Host, name, more string) string {
	t.Helper()
	version, err := os.ReadFile("../build/kernel/VERSION")
	if err != nil {
		t.Fatalf("%v (run: scripts/setup)", err)
	}
	kernel, err := filepath.Abs("../build/kernel/boot/vmlinuz-" + strings.TrimSpace(string(version)))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(h.Dir, name+".toml"), fmt.Sprintf(
		"toplevel = %q\n%skernel = %q\nmem = 512\n%s", filepath.Join(systemd(t), "system"), storeDir(t), kernel, more))
}

// bootSystemd boots the guest until systemd lets people log in.
func bootSystemd(t *testing.T, h *test.Host, definition string) *test.VM {
	t.Helper()
	v := h.Start(definition)
	v.WaitReady()
	v.AwaitOutput(v.Name + " login: ")
	if got := v.Exec("systemctl", "is-system-running", "--wait"); got != "running\n" {
		t.Errorf("systemd is %q; want running:\n%s", got, v.Exec("systemctl", "--failed", "--no-pager"))
	}
	return v
}

// TestSystemd boots Debian's systemd as the closure's init, by mvm's initrd and
// by an initrd of systemd, with an overlay on a volume over the store. Init gets
// its arguments by either way.
//
// Nothing of this hangs at the end, with mvm's drop-ins or without. What the
// drop-ins do is keep the volume's file system from being left in use.
func TestSystemd(t *testing.T) {
	for name, way := range waysIn(t) {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			system, err := os.Readlink(filepath.Join(systemd(t), "system"))
			if err != nil {
				t.Fatal(err)
			}
			if name == "direct" {
				way = "machineId = \"01234567-89ab-CDEF-0123-456789abcdef\"\n"
			}
			definition := defineSystemd(t, h, name, way+fmt.Sprintf("init = [%q, \"an argument\"]", system+"/init")+`
registerClosure = true
credentialFiles.token = "`+secretFile(t, h)+`"
writableStoreOverlay = "/nix/.rw-store"
[[volumes]]
image = "rw.img"
size = 64
label = "rw-store"
mountPoint = "/nix/.rw-store"`)
			image := filepath.Join(h.Dirs().State, name, "rw.img")

			if name == "initrd" { // mvm's own grows what it mounts in other tests
				makeSmaller(t, image, "rw-store")
			}
			v := bootSystemd(t, h, definition)
			out := v.Exec("stat", "-f", "-c", "%b %S", "/nix/.rw-store")
			var blocks, size int
			if _, err := fmt.Sscan(out, &blocks, &size); err != nil || blocks*size < 50<<20 {
				t.Errorf("the volume's file system has %q blocks and bytes in each, %v; want most of 64 MiB", out, err)
			}
			want := "/nix/.ro-store erofs ro\n/nix/.rw-store ext4 rw\n/nix/store overlay rw\n"
			if diff := cmp.Diff(want, v.Exec("sh", "-c", storeMounts+" | sort")); diff != "" {
				t.Errorf("the store's mounts (-want +got):\n%s", diff)
			}
			if got := v.Exec("cat", "/proc/1/cmdline"); got != "/lib/systemd/systemd\x00an argument\x00" {
				t.Errorf("process 1 is %q; want systemd with an argument", got)
			}
			checkSum(t, v)
			checkDatabase(t, v)
			checkCredential(t, v)
			checkMachineID(t, v, name == "direct")
			added := strings.TrimSpace(v.Exec("nix-store", "--add", "/etc/issue"))
			stopSystemd(t, v)
			if needsRecovery(t, image) {
				t.Error("the volume was left in use")
			}
			if name != "direct" {
				return // from here on it is the same, and takes time
			}

			v = bootSystemd(t, h, definition)
			if got := v.Exec("cat", added); !strings.HasPrefix(got, "systemd of the test") {
				t.Errorf("%s, added before the reboot, holds %q", added, got)
			}
			v.Exec("sh", "-c", "rm -r /run/systemd/system.control && systemctl daemon-reload")
			stopSystemd(t, v)
			if !needsRecovery(t, image) {
				t.Error("the volume was not left in use without the drop-ins: they are not needed any more")
			}
		})
	}
}

// makeSmaller makes an image of half the size that the definition wants.
func makeSmaller(t *testing.T, image, label string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(image), 0o700); err != nil {
		t.Fatal(err)
	}
	v, err := volumes.Open(t.Context(), volumes.Spec{Path: image, Create: true, MiB: 32, FSType: "ext4", Label: label})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

// secret is a credential with what no text has.
const secret = "not for\x00everyone\xff\n"

func secretFile(t *testing.T, h *test.Host) string {
	t.Helper()
	path := write(t, filepath.Join(h.Dir, "secret"), secret)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkCredential checks that systemd has the credential and gives it to a service
// that asks for it, and that the host's processes do not show it.
func checkCredential(t *testing.T, v *test.VM) {
	t.Helper()
	if got := v.Exec("systemd-creds", "--system", "--no-legend", "list"); !strings.Contains("\n"+got, "\ntoken ") {
		t.Errorf("systemd-creds --system list = %q; want token", got)
	}
	v.Exec("sh", "-c", `cat >/run/systemd/system/taker.service <<.
[Service]
Type=oneshot
LoadCredential=token
ExecStart=/bin/sh -c "cp \$CREDENTIALS_DIRECTORY/token /run/taken"
.
systemctl daemon-reload && systemctl start taker.service`)
	if got := v.Exec("cat", "/run/taken"); got != secret {
		t.Errorf("a service's credential is %q; want %q", got, secret)
	}
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", v.Status().QEMU))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(argv), "everyone") || !strings.Contains(string(argv), "opt/io.systemd.credentials/token,file=/proc/self/fd/") {
		t.Errorf("QEMU's command line does not name the credential by its descriptor, or shows it: %q", argv)
	}
}

// checkMachineID checks that systemd has the definition's machineId, or else that it
// can know the one that the name gives. Debian 12's systemd, version 252, gets that
// credential and does not use it yet.
func checkMachineID(t *testing.T, v *test.VM, written bool) {
	t.Helper()
	if written {
		if got, want := v.Exec("cat", "/etc/machine-id"), "0123456789abcdef0123456789abcdef\n"; got != want {
			t.Errorf("the guest's machine id is %q; want %q", got, want)
		}
		return
	}
	sum := sha256.Sum256([]byte("microvm.nix:" + v.Name))
	want := fmt.Sprintf("%x", sum[:16])
	if got := v.Exec("systemd-creds", "--system", "cat", "system.machine_id"); strings.TrimSpace(got) != want {
		t.Errorf("the credential system.machine_id is %q; want %q", got, want)
	}
}

// checkSum compares a file in the store with the host's.
func checkSum(t *testing.T, v *test.VM) {
	t.Helper()
	system, err := os.Readlink(filepath.Join(systemd(t), "system"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.EvalSymlinks(filepath.Join(systemd(t), "system"))
	if err != nil {
		file = filepath.Join("../build/nix", system) // of a user without root
	}
	b, err := os.ReadFile(filepath.Join(file, "init"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256(b))
	if got := v.Exec("sha256sum", filepath.Join(system, "init")); !strings.HasPrefix(got, want+" ") {
		t.Errorf("the guest's init has the sum %s; want %s", got, want)
	}
}

// checkDatabase checks that the guest's Nix knows the closure, and finds nothing
// wrong with it.
func checkDatabase(t *testing.T, v *test.VM) {
	t.Helper()
	paths, err := os.ReadFile(filepath.Join(systemd(t), "closure/store-paths"))
	if err != nil {
		t.Fatal(err)
	}
	system, err := os.Readlink(filepath.Join(systemd(t), "system"))
	if err != nil {
		t.Fatal(err)
	}
	got := v.Exec("sh", "-c", "nix-store --verify && nix-store --query --requisites "+system+" | sort")
	if diff := cmp.Diff(string(paths), got); diff != "" {
		t.Errorf("the closure that the guest's Nix knows (-want +got):\n%s", diff)
	}
}

// stopSystemd stops the machine, which must need no more than to be asked.
func stopSystemd(t *testing.T, v *test.VM) {
	t.Helper()
	e := v.Stop()
	checkEnd(t, e, 0)
	if strings.Contains(e.Stderr, "pressing the guest's power button") {
		t.Errorf("the guest did not power off when it was asked to:\n%s", e.Stderr)
	}
}

// needsRecovery reports whether the journal of an ext4 image has to be replayed.
func needsRecovery(t *testing.T, image string) bool {
	t.Helper()
	out, err := exec.Command("/sbin/dumpe2fs", "-h", image).Output()
	if err != nil {
		t.Fatalf("dumpe2fs: %v (install e2fsprogs)", err)
	}
	return strings.Contains(string(out), "needs_recovery")
}

// TestInitrdThatGivesUp: what its own initrd cannot mount ends the machine at
// once, and the console has the reason.
func TestInitrdThatGivesUp(t *testing.T) {
	h := host(t)
	empty := write(t, filepath.Join(h.Dir, "empty.img"), strings.Repeat("\x00", 1<<20))
	v := h.Start(defineSystemd(t, h, "emergency", waysIn(t)["initrd"]+fmt.Sprintf(`
[[volumes]]
image = %q
autoCreate = false
mountPoint = "/data"`, empty)))
	checkEnd(t, v.Wait(), 120,
		"error: guest: boot through the guest's own initrd: systemd gave up and went into emergency mode",
		"hint: look at the console for the unit that failed")
	if want := "Can't find ext4 filesystem"; !strings.Contains(v.Console(), want) {
		t.Errorf("the console does not say %q", want)
	}
}

// TestInitrdOfAnotherKind: a guest whose initrd is not systemd's never gets
// ready, and one whose initrd is not there never starts.
func TestInitrdOfAnotherKind(t *testing.T) {
	h := host(t)
	other := write(t, filepath.Join(h.Dir, "initrd"), "")
	v := h.Start(defineSystemd(t, h, "other", fmt.Sprintf("readyTimeout = \"5s\"\ninitrdPath = %q\nkernelParams = [\"panic=0\"]", other)))
	if e := v.Wait(); e.Code != 121 && e.Code != 123 {
		t.Errorf("mvm run with an initrd that holds nothing = %d; want a panic or a guest that is not ready", e.Code)
	}
	gone := defineSystemd(t, h, "gone", `initrdPath = "gone"`)
	checkEnd(t, h.Start(gone).Wait(), 101,
		"error: initrdPath: lstat "+filepath.Join(h.Dir, "gone")+": no such file or directory",
		"hint: set initrdPath to an initrd of systemd that this user can read, or leave it out for mvm's own")
}
