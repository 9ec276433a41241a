package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// volume is a volume of the machine's own, with further lines.
func volume(image, where string, size int, more ...string) string {
	return fmt.Sprintf("[[volumes]]\nimage = %q\nmountPoint = %q\nsize = %d\n%s\n", image, where, size, strings.Join(more, "\n"))
}

// fileSystems are those that mvm makes, with a label as long as each can have
// and the least size that its mkfs takes without a word.
var fileSystems = []struct {
	name, label string
	size        int
}{
	{"ext2", "sixteen-bytes-xt", 8},
	{"ext3", "a label", 16},
	{"ext4", "data", 16},
	{"xfs", "twelve-bytes", 320},
	{"btrfs", strings.Repeat("long ", 20) + "label", 128},
	{"vfat", "ELEVENBYTES", 8},
}

// TestVolumeOfEachFileSystem is written in one boot, and in the next one read and,
// being read-only then, refused to the guest.
func TestVolumeOfEachFileSystem(t *testing.T) {
	h := host(t)
	definition := func(readOnly bool) string {
		more := ""
		for _, f := range fileSystems {
			more += volume(f.name+".img", "/"+f.name, f.size,
				fmt.Sprintf("fsType = %q\nlabel = %q\nreadOnly = %v", f.name, f.label, readOnly))
		}
		return define(t, h, "each", more)
	}
	run := func(readOnly bool, script string) (where map[string]string, out string) {
		t.Helper()
		e := h.Start(definition(readOnly), "--", "sh", "-c", "cat /proc/self/mountinfo; echo; "+script).Wait()
		checkEnd(t, e, 0)
		mountinfo, out, _ := strings.Cut(e.Stdout, "\n\n")
		where = map[string]string{}
		for _, f := range fileSystems {
			found := reported(t, mountinfo+"\n", "/"+f.name)
			if len(found) != 1 {
				t.Fatalf("mounts on /%s: %q; want one", f.name, found)
			}
			device, rest, _ := strings.Cut(found[0], " ")
			where[f.name] = rest
			if !strings.HasPrefix(device, "/dev/vd") {
				t.Errorf("%s is mounted from %s; want a disk", f.name, device)
			}
		}
		return where, out
	}
	mounted := func(mode string) map[string]string {
		all := map[string]string{}
		for _, f := range fileSystems {
			all[f.name] = fmt.Sprintf("on /%s type %s (%s)", f.name, f.name, mode)
		}
		return all
	}

	where, _ := run(false, `for f in ext2 ext3 ext4 xfs btrfs vfat; do echo "$f has this" >/$f/file; done`)
	if diff := cmp.Diff(mounted("rw"), where); diff != "" {
		t.Errorf("the guest has other mounts (-want +got):\n%s", diff)
	}
	before := map[string]string{}
	for _, f := range fileSystems {
		before[f.name] = sum(t, h.Dirs().Machine("each").State+"/"+f.name+".img")
	}

	where, out := run(true, `for f in ext2 ext3 ext4 xfs btrfs vfat; do
		cat /$f/file
		touch /$f/new 2>&1
		mount -o remount,rw /$f 2>/dev/null && touch /$f/new && sync && echo "$f lets itself be written"
		disk=$(awk -v d=/$f '$2 == d { print $1 }' /proc/self/mounts)
		dd if=/dev/zero of=$disk bs=512 count=1 2>/dev/null && echo "$disk lets itself be written"
	done; true`)
	if diff := cmp.Diff(mounted("ro"), where); diff != "" {
		t.Errorf("the guest has other mounts (-want +got):\n%s", diff)
	}
	want := ""
	for _, f := range fileSystems {
		want += fmt.Sprintf("%s has this\ntouch: /%s/new: Read-only file system\n", f.name, f.name)
		if after := sum(t, h.Dirs().Machine("each").State+"/"+f.name+".img"); after != before[f.name] {
			t.Errorf("the image of %s has changed", f.name)
		}
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("the guest's output differs (-want +got):\n%s", diff)
	}
}

// diskOf prints for each volume its mount point, its disk's letter and serial.
const diskOf = `awk '$2 ~ "^/v" { print $2, substr($1, 6) }' /proc/self/mounts | sort |
	while read -r where disk; do echo "$where $disk $(cat /sys/block/$disk/serial)"; done`

// TestVolumesByLabelAndByPosition: with a label a volume is found by it, and else
// by its position, which counts the store disk if there is one.
func TestVolumesByLabelAndByPosition(t *testing.T) {
	volumes := volume("a.img", "/v1", 16, `label = "data"`) + volume("b.img", "/v2", 16) +
		volume("c.img", "/v3", 16, `serial = "own"`) +
		"[[volumes]]\nimage = \"d.img\"\nsize = 16\n" + volume("e.img", "/v5", 16)
	for _, tt := range []struct{ name, definition, want string }{
		{"store-disk", "", "/v1 vdb mvm-data\n/v2 vdc disk-2\n/v3 vdd own\n/v5 vdf disk-5\n"},
		{"shared-store", share("virtiofs", "store", storeOnHost(t), "/nix/store"),
			"/v1 vda mvm-data\n/v2 vdb disk-1\n/v3 vdc own\n/v5 vde disk-4\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			e := h.Start(define(t, h, tt.name, tt.definition+volumes), "--", "sh", "-c", diskOf).Wait()
			checkEnd(t, e, 0)
			if diff := cmp.Diff(tt.want, e.Stdout); diff != "" {
				t.Errorf("the guest's volumes are other disks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVolumeAsRoot keeps all that the guest writes outside of its store.
func TestVolumeAsRoot(t *testing.T) {
	h := host(t)
	definition := define(t, h, "root", volume("root.img", "/", 64, `label = "root"`))
	for i, want := range []string{"nothing", "boot 1"} {
		e := h.Start(definition, "--", "sh", "-c", fmt.Sprintf(`cat /kept 2>/dev/null || echo nothing
			echo; cat /proc/self/mountinfo; echo; sha256sum <%s; echo boot %d >/kept`, busybox(t), i+1)).Wait()
		checkEnd(t, e, 0)
		parts := strings.Split(e.Stdout, "\n\n")
		if len(parts) != 3 {
			t.Fatalf("boot %d says %q; want three parts", i+1, e.Stdout)
		}
		kept, mountinfo, digest := parts[0], parts[1], parts[2]
		if kept != want {
			t.Errorf("boot %d finds %q; want %q", i+1, kept, want)
		}
		roots := slices.DeleteFunc(reported(t, mountinfo+"\n", "/"), func(m string) bool {
			return !strings.Contains(m, " on / ") && !strings.Contains(m, " on /nix")
		})
		if diff := cmp.Diff([]string{"/dev/vdb on / type ext4 (rw)", "/dev/vda on /nix/store type erofs (ro)"}, roots); diff != "" {
			t.Errorf("boot %d: the guest has other mounts (-want +got):\n%s", i+1, diff)
		}
		inStore := filepath.Join(storeOnHost(t), strings.TrimPrefix(busybox(t), "/nix/store"))
		if digest != sum(t, inStore)+"  -\n" {
			t.Errorf("boot %d: a file in the store has the digest %q; want %s", i+1, digest, sum(t, inStore))
		}
	}
}

// TestVolumeThatHasAnotherSize grows, and is never cut.
func TestVolumeThatHasAnotherSize(t *testing.T) {
	h := host(t)
	image := h.Dirs().Machine("sized").State + "/data.img"
	run := func(size int) (code int, stdout, stderr string) {
		e := h.Start(define(t, h, "sized", volume("data.img", "/data", size)), "--", "sh", "-c",
			`cat /data/kept 2>/dev/null; echo here >/data/kept; cat /sys/block/vdb/size`).Wait()
		return e.Code, e.Stdout, e.Stderr
	}
	if code, out, _ := run(16); code != 0 || out != "32768\n" {
		t.Fatalf("the first boot = %d, %q; want 0 and a disk of 32768 sectors", code, out)
	}
	code, out, stderr := run(24)
	if said := "data.img has 24 MiB now"; code != 0 || out != "here\n49152\n" || !strings.Contains(stderr, said) {
		t.Errorf("a boot with more = %d, %q; want 0, what was kept, a disk of 49152 sectors and %q", code, out, said)
	}
	e := h.Start(define(t, h, "sized", volume("data.img", "/data", 16))).Wait()
	checkEnd(t, e, 101, `error: volumes\[0\]: volume .*/data.img: the image has 24 MiB, and is to have 16`,
		"hint: set size = 24: an image is never made smaller, .*")
	if fi, err := os.Stat(image); err != nil || fi.Size() != 24<<20 {
		t.Errorf("the image: %v, %v; want 24 MiB", fi, err)
	}
}
