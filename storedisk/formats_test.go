package storedisk_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/storedisk"
)

// fsck are the commands that check an image of each type.
var fsck = map[storedisk.Type][]string{
	storedisk.Erofs:    {"fsck.erofs"},
	storedisk.Squashfs: {"unsquashfs", "-no-progress", "-quiet", "-excludes", "-lln"},
	storedisk.Ext4:     {"e2fsck", "-f", "-n"},
	storedisk.Btrfs:    {"btrfs", "check", "--readonly", "--check-data-csum"},
}

// variants are the ways to make an image that have code of their own.
var variants = map[string]storedisk.Options{
	"erofs":         {},
	"erofs-lz4":     {Compression: "lz4"},
	"erofs-lz4hc":   {ErofsFlags: []string{"-zlz4hc,1", "-Eztailpacking"}},
	"squashfs":      {Type: storedisk.Squashfs},
	"ext4":          {Type: storedisk.Ext4},
	"btrfs":         {Type: storedisk.Btrfs},
	"gensquashfs":   {Type: storedisk.Squashfs, SquashfsFlags: []string{"-c", "zstd", "-j", "2"}},
	"squashfs-lz4":  {Type: storedisk.Squashfs, Compression: "lz4"},
	"squashfs-none": {Type: storedisk.Squashfs, Compression: "none"},
}

// pathsFor returns what the tool behind o can take: mkfs.erofs 1.5 fails on a
// name of 255 bytes.
func pathsFor(o storedisk.Options) map[string]tree {
	paths := aFewPaths()
	if len(o.ErofsFlags) > 0 || o.Type == "" && o.Compression != "" {
		delete(paths["odd"], strings.Repeat("n", 255))
	}
	return paths
}

func TestImagesAreTheSameFromAnyStore(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			var images []*storedisk.Image
			for _, backwards := range []bool{false, true} {
				c := plant(t, t.TempDir(), pathsFor(o), backwards)
				images = append(images, build(t, &storedisk.Cache{Dir: t.TempDir()}, c, o))
			}
			a, b := readData(t, images[0].Path), readData(t, images[1].Path)
			if !bytes.Equal(a, b) {
				t.Errorf("Build() from two stores gave different images %s and %s", images[0].Path, images[1].Path)
			}
		})
	}
}

func TestImagesHoldTheClosure(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			store := t.TempDir()
			c := plant(t, store, pathsFor(o), false)
			img := build(t, &storedisk.Cache{Dir: t.TempDir()}, c, o)
			check := append(fsck[img.Type], img.Path)
			if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v\n%s", check, err, out)
			}
			compare(t, mountImage(t, img), store)
		})
	}
}

// mountImage mounts the image on a loop device until the test ends.
func mountImage(t testing.TB, img *storedisk.Image) string {
	t.Helper()
	at := t.TempDir()
	opts := "loop,ro"
	if out, err := exec.Command("mount", "-t", string(img.Type), "-o", opts, img.Path, at).CombinedOutput(); err != nil {
		t.Fatalf("mount %s: %v\n%s(needs root, and the package mount)", img.Path, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return at
}

// readData returns what an image holds, without reading a tebibyte of holes.
func readData(t testing.TB, path string) []byte {
	t.Helper()
	tmp := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command("tar", "-C", filepath.Dir(path), "-S", "--mtime=@0", "-cf", tmp, "--transform=s/.*/image/", filepath.Base(path)).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	b, err := os.ReadFile(tmp)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
