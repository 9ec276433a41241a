package test_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/test"
	volumes "github.com/mvmrun/mvm/vm/volume"
)

// volume is a volume of the machine's own, with further lines.
func volume(image, where string, size int, more ...string) string {
	return fmt.Sprintf("[[volumes]]\nimage = %q\nmountPoint = %q\nsize = %d\n%s\n", image, where, size, strings.Join(more, "\n"))
}

// fileSystems are those that mvm makes, with a label as long as each can have
// and about the least size that its mkfs takes without a word. Linux resizes no
// btrfs to less than 256 MiB.
var fileSystems = []struct {
	name, label string
	size        int
}{
	{"ext2", "sixteen-bytes-xt", 8},
	{"ext3", "a label", 16},
	{"ext4", "data", 16},
	{"xfs", "twelve-bytes", 320},
	{"btrfs", strings.Repeat("long ", 20) + "label", 240},
	{"vfat", "ELEVENBYTES", 8},
}

// each defines a machine with a volume of each file system, with so many MiB more
// than is least.
func each(t *testing.T, h *test.Host, extra int, readOnly bool) string {
	t.Helper()
	more := ""
	for _, f := range fileSystems {
		more += volume(f.name+".img", "/"+f.name, f.size+extra,
			fmt.Sprintf("fsType = %q\nlabel = %q\nreadOnly = %v", f.name, f.label, readOnly))
	}
	return define(t, h, "each", more)
}

// TestVolumeOfEachFileSystem is written in one boot; in the next its image has
// grown, and so has what the guest sees of it; in the last one it is read and,
// being read-only then, refused to the guest.
func TestVolumeOfEachFileSystem(t *testing.T) {
	h := host(t)
	const extra = 24
	run := func(definition, mode, script string) (out, stderr string) {
		t.Helper()
		e := h.Start(definition, "--", "sh", "-c", "cat /proc/self/mountinfo; echo; "+script).Wait()
		checkEnd(t, e, 0)
		mountinfo, out, _ := strings.Cut(e.Stdout, "\n\n")
		for _, f := range fileSystems {
			found := reported(t, mountinfo+"\n", "/"+f.name)
			want := fmt.Sprintf("on /%s type %s (%s)", f.name, f.name, mode)
			if len(found) != 1 || !strings.HasPrefix(found[0], "/dev/vd") || !strings.HasSuffix(found[0], want) {
				t.Errorf("mounts on /%s: %q; want a disk %s", f.name, found, want)
			}
			checkFileSystem(t, h.Dirs().Machine("each").State+"/"+f.name+".img", f.name)
		}
		return out, e.Stderr
	}
	const sizes = `for f in ext2 ext3 ext4 xfs btrfs vfat; do echo "$f $(($(stat -f -c '%b * %S' /$f) >> 20))"; done; `

	script := sizes
	for _, f := range fileSystems {
		script += fmt.Sprintf(`[ "$(%s findfs LABEL=%q)" = "$(awk '$2 == "/%s" { print $1 }' /proc/self/mounts)" ] || echo "%[3]s has another label" >&2
			echo "%[3]s has this" >/%[3]s/file; `, busybox(t), f.label[:min(len(f.label), 64)], f.name) // all that busybox reads
	}
	out, said := run(each(t, h, 0, false), "rw", script)
	if strings.Contains(said, "another label") {
		t.Error(said)
	}
	before := numbers(t, out)
	out, said = run(each(t, h, extra, false), "rw", sizes)
	after := numbers(t, out)
	for _, f := range fileSystems {
		want := fmt.Sprintf("guest: the file system on /%s has grown from %d to %d MiB", f.name, before[f.name], after[f.name])
		if f.name == "vfat" {
			want = "guest: the file system on /vfat is smaller than its disk, and stays so: Linux cannot grow vfat"
		} else if more := after[f.name] - before[f.name]; more < extra-4 || more > extra {
			t.Errorf("%s has %d MiB, and had %d before its image got %d MiB more", f.name, after[f.name], before[f.name], extra)
		}
		if !strings.Contains(said, want) {
			t.Errorf("mvm said %q; want %q in it", said, want)
		}
	}
	sums := map[string]string{}
	for _, f := range fileSystems {
		sums[f.name] = sum(t, h.Dirs().Machine("each").State+"/"+f.name+".img")
	}

	out, _ = run(each(t, h, extra, true), "ro", `for f in ext2 ext3 ext4 xfs btrfs vfat; do
		cat /$f/file
		touch /$f/new 2>&1
		mount -o remount,rw /$f 2>/dev/null && touch /$f/new && sync && echo "$f lets itself be written"
		disk=$(awk -v d=/$f '$2 == d { print $1 }' /proc/self/mounts)
		dd if=/dev/zero of=$disk bs=512 count=1 2>/dev/null && echo "$disk lets itself be written"
	done; true`)
	want := ""
	for _, f := range fileSystems {
		want += fmt.Sprintf("%s has this\ntouch: /%s/new: Read-only file system\n", f.name, f.name)
		if after := sum(t, h.Dirs().Machine("each").State+"/"+f.name+".img"); after != sums[f.name] {
			t.Errorf("the image of %s has changed", f.name)
		}
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("the guest's output differs (-want +got):\n%s", diff)
	}

	// An image is never cut.
	e := h.Start(define(t, h, "each", volume("ext2.img", "/ext2", 8))).Wait()
	checkEnd(t, e, 101, `error: volumes\[0\]: volume .*/ext2.img: the image has 32 MiB, and is to have 8`,
		"hint: set size = 32: an image is never made smaller, .*")
	if after := sum(t, h.Dirs().Machine("each").State+"/ext2.img"); after != sums["ext2"] {
		t.Error("the image of ext2 has changed")
	}
}

// numbers are lines of a name and a number.
func numbers(t *testing.T, lines string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for line := range strings.Lines(lines) {
		var name string
		var n int
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[name] = n
	}
	return all
}

// checkFileSystem has each file system's own program look for what is wrong in an
// image, without repairing anything.
func checkFileSystem(t *testing.T, image, fsType string) {
	t.Helper()
	argv := map[string][]string{
		"xfs":   {"xfs_repair", "-n"},
		"btrfs": {"btrfs", "check", "--readonly"},
		"vfat":  {"fsck.vfat", "-n"},
	}[fsType]
	if argv == nil {
		argv = []string{"e2fsck", "-fn"}
	}
	program, err := volumes.LookPath(argv[0])
	if err != nil {
		t.Fatalf("%s: %v (run: scripts/setup)", argv[0], err)
	}
	if out, err := exec.Command(program, append(argv[1:], image)...).CombinedOutput(); err != nil {
		t.Errorf("%s of %s: %v\n%s", argv[0], filepath.Base(image), err, out)
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
