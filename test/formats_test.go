package test_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
)

// listStore prints what is mounted for the store, and then of everything in it
// the name, where it leads, type and mode, owner, time, and of files the digest.
const listStore = `
grep ' /nix' /proc/self/mountinfo
cd /nix/store
find . -mindepth 1 -exec stat -c '%N %f %u:%g %Y' {} +
find . -type f -exec sha256sum {} +
`

// overlays are the ways in which a guest can have its store.
var overlays = []struct {
	name, definition string
	mounts           []string // FORMAT stands for the disk's
	lasts            bool     // what the guest writes is there in the next boot
}{
	{"read-only", "", []string{"/nix/store FORMAT ro"}, false},
	{"overlay", `writableStoreOverlay = "/nix/.rw-store"`, []string{
		"/nix/.ro-store FORMAT ro",
		"/nix/store overlay rw lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/store,workdir=/nix/.rw-store/work",
	}, false},
	{"overlay on a volume", `writableStoreOverlay = "/nix/.rw-store"
[[volumes]]
image = "rw.img"
size = 64
label = "rw-store"
mountPoint = "/nix/.rw-store"
`, []string{
		"/nix/.ro-store FORMAT ro",
		"/nix/.rw-store ext4 rw",
		"/nix/store overlay rw lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/store,workdir=/nix/.rw-store/work",
	}, true},
}

// TestFormats boots a guest from each format of disk, with each kind of overlay,
// and compares every file of its store with the host's.
func TestFormats(t *testing.T) {
	want := hostStore(t)
	for _, format := range []string{"erofs", "squashfs", "ext4", "btrfs"} {
		for _, o := range overlays {
			t.Run(format+" "+o.name, func(t *testing.T) {
				h := host(t)
				definition := define(t, h, "store", fmt.Sprintf("storeDiskType = %q\n%s", format, o.definition))
				checkStore(t, h, definition, format, o.mounts, want)
			})
		}
	}
	t.Run("erofs packed", func(t *testing.T) {
		h := host(t)
		definition := define(t, h, "store", "")
		packed(t, h, definition)
		checkStore(t, h, definition, "erofs", overlays[0].mounts, want)
	})
}

// TestOverlayOverTwoBoots: what a guest wrote to its store lasts on a volume and
// nowhere else, and what it removed of the disk is gone in the overlay alone.
func TestOverlayOverTwoBoots(t *testing.T) {
	for _, o := range overlays[1:] {
		t.Run(o.name, func(t *testing.T) {
			h := host(t)
			definition := define(t, h, "twice", o.definition)
			const write = `cd /nix/store; echo more >written; echo more >>$(echo *-myvm-etc/passwd); rm *-myvm-hello/bin/*`
			if e := h.Start(definition, "--", "sh", "-e", "-c", write).Wait(); e.Code != 0 {
				t.Fatalf("first boot = %d; want 0", e.Code)
			}
			const read = `exec 2>&1; cd /nix/store; cat written; tail -n 1 *-myvm-etc/passwd; ls *-myvm-hello/bin`
			e := h.Start(definition, "--", "sh", "-c", read).Wait()
			want := "cat: can't open 'written': No such file or directory\nroot:x:0:0:root:/root:/nix/store/"
			if o.lasts {
				want = "more\nmore\n"
			}
			if got := e.Stdout; !strings.HasPrefix(got, want) || o.lasts != (got == want) {
				t.Errorf("second boot found %q; want %q", got, want)
			}
		})
	}
}

// checkStore boots the guest and looks at its store and at how it ended.
func checkStore(t *testing.T, h *test.Host, definition, format string, mounts, want []string) {
	t.Helper()
	v := h.Start(definition, "--", "sh", "-e", "-c", listStore)
	e := v.Wait()
	if e.Code != 0 || len(errorsOf(e.Stderr)) > 0 || !strings.Contains(e.Stderr, "guest poweroff") {
		t.Errorf("mvm run = %d; want 0, no error, and a guest that powered off", e.Code)
	}
	for line := range strings.Lines(v.Console()) {
		if l := strings.ToLower(line); strings.Contains(l, "error") || strings.Contains(l, "corrupt") {
			t.Errorf("the guest's kernel said %q", line)
		}
	}
	var gotMounts, got []string
	for line := range strings.Lines(e.Stdout) {
		if line = strings.TrimSpace(line); strings.Contains(line, " - ") {
			gotMounts = append(gotMounts, mountOf(t, line))
		} else {
			got = append(got, line)
		}
	}
	var wantMounts []string
	for _, m := range mounts {
		wantMounts = append(wantMounts, strings.ReplaceAll(m, "FORMAT", format))
	}
	if diff := cmp.Diff(wantMounts, gotMounts); diff != "" {
		t.Errorf("mountinfo (-want +got):\n%s", diff)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the guest's store (-host +guest):\n%s", diff)
	}
}

// mountOf is a line of mountinfo as the tests above write it: where, type, ro or
// rw, and what an overlay is made of.
func mountOf(t *testing.T, line string) string {
	t.Helper()
	mount, super, _ := strings.Cut(line, " - ")
	m, s := strings.Fields(mount), strings.Fields(super)
	if len(m) < 6 || len(s) != 3 {
		t.Fatalf("line of mountinfo: %q", line)
	}
	text := m[4] + " " + s[0] + " " + m[5][:2]
	if s[0] == "overlay" {
		var dirs []string
		for o := range strings.SplitSeq(s[2], ",") {
			if strings.Contains(o, "dir=") {
				dirs = append(dirs, o)
			}
		}
		text += " " + strings.Join(dirs, ",")
	}
	return text
}

// hostStore is what listStore prints in a guest that has the example's closure,
// in order.
func hostStore(t *testing.T) []string {
	t.Helper()
	paths, err := os.ReadFile("../build/myvm-closure/store-paths")
	if err != nil {
		t.Fatalf("%v (run: make example)", err)
	}
	var lines []string
	for path := range strings.FieldsSeq(string(paths)) {
		path = hostPath(t, path)
		err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := "./" + strings.TrimPrefix(p, filepath.Dir(path)+"/")
			fi, err := d.Info()
			if err != nil {
				return err
			}
			mode := uint32(fi.Mode().Perm())
			switch shown := name; fi.Mode().Type() {
			case fs.ModeDir:
				lines = append(lines, fmt.Sprintf("%s %x 0:0 1", shown, 0o040000|mode))
			case fs.ModeSymlink:
				target, err := os.Readlink(p)
				if err != nil {
					return err
				}
				lines = append(lines, fmt.Sprintf("'%s' -> '%s' %x 0:0 1", shown, target, 0o120777))
			default:
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				lines = append(lines, fmt.Sprintf("%s %x 0:0 1", shown, 0o100000|mode), fmt.Sprintf("%x  %s", sha256.Sum256(b), name))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return lines
}

// hostPath is where this host keeps a store path of the example: see storeDir.
func hostPath(t *testing.T, path string) string {
	t.Helper()
	if line := storeDir(t); line != "" {
		_, dir, _ := strings.Cut(strings.Trim(line, "\"\n"), `"`)
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// packed puts a disk into the cache that has no holes, as happens where the file
// system has none: files longer than a disk may be are not allowed.
func packed(t *testing.T, h *test.Host, definition string) {
	t.Helper()
	cmd := h.Command("store", "build", definition)
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		t.Fatal("prlimit is not installed (apt install util-linux)")
	}
	cmd.Path, cmd.Args = prlimit, append([]string{"prlimit", "--fsize=17179869184", "--"}, cmd.Args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mvm store build: %v\n%s", err, out)
	}
	if fi, err := os.Stat(onlyImage(t, h)); err != nil || fi.Size() > 1<<30 {
		t.Fatalf("the image that was to be packed: %v, %v", fi, err)
	}
}
