package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/vm/control"
)

// storeMounts prints what is mounted at and for /nix/store, top last.
const storeMounts = `awk '$2 ~ "^/nix" { split($4, o, ","); print $2, $3, o[1] }' /proc/self/mounts`

// TestBoot boots guests and has them run a script, whose output says what they
// are made of.
func TestBoot(t *testing.T) {
	tests := []struct {
		name       string
		definition string
		script     string
		want       string
		code       int
	}{
		{
			"plain", "",
			storeMounts + `; ls -d /nix/store/*-myvm-system >/dev/null && echo found; touch /nix/store/x 2>&1; hostname`,
			"/nix/store erofs ro\nfound\ntouch: /nix/store/x: Read-only file system\nplain\n", 0,
		},
		{
			"overlay", `writableStoreOverlay = "/nix/.rw-store"`,
			storeMounts + `; echo new >/nix/store/new && cat /nix/store/new; ls /nix/.ro-store/new 2>&1; ls /nix/.rw-store/store`,
			"/nix/.ro-store erofs ro\n/nix/store overlay rw\nnew\nls: /nix/.ro-store/new: No such file or directory\nnew\n", 0,
		},
		{
			"overlay on a volume", `writableStoreOverlay = "/nix/.rw-store"
[[volumes]]
image = "rw.img"
size = 64
label = "rw-store"
mountPoint = "/nix/.rw-store"`,
			storeMounts + `; echo new >/nix/store/new && cat /nix/store/new; ! ls /nix/.ro-store/new 2>&1`,
			"/nix/.ro-store erofs ro\n/nix/.rw-store ext4 rw\n/nix/store overlay rw\nnew\n" +
				"ls: /nix/.ro-store/new: No such file or directory\n", 0,
		},
		{"command that fails", "", "echo bad >&2; exit 42", "", 42},
		{"command that is killed", "", "kill -9 $$", "", 137},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			name := strings.ReplaceAll(tt.name, " ", "-")
			e := h.Start(define(t, h, name, tt.definition), "--", "sh", "-c", tt.script).Wait()
			if e.Code != tt.code {
				t.Errorf("mvm run = %d; want %d", e.Code, tt.code)
			}
			if diff := cmp.Diff(tt.want, e.Stdout); diff != "" {
				t.Errorf("the guest's output differs (-want +got):\n%s", diff)
			}
			if strings.Contains(e.Stderr, "mvm: error:") {
				t.Errorf("mvm reports an error where there is none:\n%s", e.Stderr)
			}
		})
	}
}

// TestVolumesKeepWhatIsWritten: over a second boot, on the volume that it was
// written to, with a label and without one.
func TestVolumesKeepWhatIsWritten(t *testing.T) {
	h := host(t)
	definition := define(t, h, "volumes", `
[[volumes]]
image = "data.img"
size = 16
label = "data"
mountPoint = "/data"

[[volumes]]
image = "`+h.Dir+`/plain.img"
size = 32
mountPoint = "/plain"`)

	first := h.Start(definition, "--", "sh", "-c",
		`echo labelled >/data/file; echo plain >/plain/file
		awk '$2 ~ "data|plain" { print $2, $3 }' /proc/mounts
		# The label is at byte 120 of ext4's superblock, which is at 1024.
		dd if=$(awk '$2 == "/data" { print $1 }' /proc/mounts) bs=1 skip=1144 count=4 2>/dev/null`).Wait()
	if want := "/data ext4\n/plain ext4\ndata"; first.Code != 0 || first.Stdout != want {
		t.Fatalf("first boot = %d, %q; want 0, %q", first.Code, first.Stdout, want)
	}
	second := h.Start(definition, "--", "sh", "-c",
		`cat /data/file /plain/file; df -m /data /plain | awk 'NR > 1 { print $6, ($2 > 20) }'`).Wait()
	if want := "labelled\nplain\n/data 0\n/plain 1\n"; second.Code != 0 || second.Stdout != want {
		t.Errorf("second boot = %d, %q; want 0, %q", second.Code, second.Stdout, want)
	}
	for _, image := range []string{filepath.Join(h.Dirs().State, "volumes", "data.img"), filepath.Join(h.Dir, "plain.img")} {
		if fi, err := os.Stat(image); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("image of a volume: %v, %v; want a file of mode 0600", fi, err)
		}
	}
	for i, e := range []test.Ended{first, second} {
		if made := strings.Count(e.Stderr, "made the volume"); made != 2-2*i {
			t.Errorf("boot %d made %d volumes:\n%s", i+1, made, e.Stderr)
		}
	}
}

// TestStoreDiskIsReused: the second boot of a closure makes no disk, and a guest
// that writes to its store leaves the disk as it is.
func TestStoreDiskIsReused(t *testing.T) {
	h := host(t)
	definition := define(t, h, "reuse", `writableStoreOverlay = "/nix/.rw-store"`)
	images := func() []os.FileInfo {
		var found []os.FileInfo
		files, _ := filepath.Glob(filepath.Join(h.Dirs().Cache, "*.erofs"))
		for _, f := range files {
			fi, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, fi)
		}
		return found
	}
	var before []os.FileInfo
	for _, want := range []string{"store disk built", "store disk found"} {
		v := h.Start(definition, "--", "sh", "-c", "echo x >/nix/store/x; rm -r /nix/store/*-myvm-etc; ! ls -d /nix/store/*-myvm-etc")
		if e := v.Wait(); e.Code != 0 || !strings.Contains(e.Stderr, want) {
			t.Fatalf("mvm run = %d; want 0 and %q", e.Code, want)
		}
		after := images()
		if len(after) != 1 || before != nil && (!os.SameFile(before[0], after[0]) || !before[0].ModTime().Equal(after[0].ModTime())) {
			t.Errorf("images in the cache before and after: %v, %v; want the same one", before, after)
		}
		before = after
	}
}

// TestBootHelper: what other projects' tests do with this package.
func TestBootHelper(t *testing.T) {
	t.Parallel()
	build(t) // elsewhere, mvm is in PATH
	v := test.Boot(t, write(t, filepath.Join(t.TempDir(), "helped.toml"),
		fmt.Sprintf("toplevel = %q\n%smem = 256\n", example(t), storeDir(t))))
	if got := v.Exec("hostname"); got != "helped\n" {
		t.Errorf("hostname = %q; want the definition's name", got)
	}
	if st := v.Status(); st.State != control.Ready || st.Kernel == "" {
		t.Errorf("Status() = %+v; want a ready machine that knows its kernel", st)
	}
}
