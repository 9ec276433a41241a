package storedisk_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/storedisk"
)

// largePaths do not fit where there is little room, compressed or not.
func largePaths() map[string]tree {
	noise := rand.NewChaCha8([32]byte{})
	data := make([]byte, 22<<20)
	noise.Read(data)
	return map[string]tree{"large": {"data": "*" + string(data[:14<<20]), "more": "+" + string(data[14<<20:])}}
}

func TestBuildOnAFullDisk(t *testing.T) {
	store := t.TempDir()
	c := plant(t, store, largePaths(), false)
	for name, o := range variants {
		if name == "erofs-lz4hc" {
			continue // as erofs-lz4, but slow
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mount(t, "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", dir)
			_, err := (&storedisk.Cache{Dir: dir}).Build(t.Context(), c, o)
			if !isHostError(err) || !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("Build() on a full disk = %v; want a HostError for ENOSPC", err)
			}
			if want := "the disk is full: the closure has 22.0 MiB, and 8.0 MiB are free"; !strings.Contains(err.Error(), want) {
				t.Errorf("Build() on a full disk = %v; want %q in it", err, want)
			}
			if left := entries(t, dir); len(left) > 0 {
				t.Errorf("Build() on a full disk left %q", left)
			}
		})
	}
}

func TestUpdateOnAFullDisk(t *testing.T) {
	store := t.TempDir()
	small := plant(t, store, aFewPaths(), false)
	plant(t, store, largePaths(), false)
	large, err := small.With(filepath.Join(store, storeName("large")))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", dir)
	cache := &storedisk.Cache{Dir: dir}
	build(t, cache, small, storedisk.Options{For: "web"}).Close()
	if _, err := cache.Build(t.Context(), large, storedisk.Options{For: "web"}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Build() = %v; want ENOSPC", err)
	}
	img := build(t, cache, small, storedisk.Options{For: "web"})
	compareOnly(t, img, small)
}

func TestCacheOnOtherFileSystems(t *testing.T) {
	store := t.TempDir()
	c := plant(t, store, aFewPaths(), false)
	more := plant(t, store, map[string]tree{"more": {"f": "x"}}, false)
	c2, err := c.With(more.Path(more.Names[0]))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		mkfs   []string // nil for tmpfs
		packed bool
		origin storedisk.Origin // of the second image
	}{
		{"tmpfs", nil, false, storedisk.Updated},
		{"ext4", []string{"mke2fs", "-q", "-t", "ext4"}, false, storedisk.Updated},
		{"btrfs", []string{"mkfs.btrfs", "-q"}, false, storedisk.Updated},
		// Files of ext2 have at most 16 GiB, of 1 KiB blocks.
		{"ext2", []string{"mke2fs", "-q", "-t", "ext2", "-b", "1024"}, true, storedisk.Built},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.mkfs == nil {
				mount(t, "-t", "tmpfs", "-o", "mode=755", "tmpfs", dir)
			} else {
				mountNew(t, tt.mkfs, dir)
			}
			cache := &storedisk.Cache{Dir: filepath.Join(dir, "cache")}
			img := build(t, cache, c, storedisk.Options{For: "web"})
			if packed := img.Apparent < 1<<40; packed != tt.packed {
				t.Errorf("Build() has %d bytes; want packed = %v", img.Apparent, tt.packed)
			}
			compareOnly(t, img, c)
			img.Close()
			next := build(t, cache, c2, storedisk.Options{For: "web"})
			if next.Origin != tt.origin {
				t.Errorf("Build() of the next closure = %s; want %s", next.Origin, tt.origin)
			}
			compareOnly(t, next, c2)
			next.Close()
			if again := build(t, cache, c2, storedisk.Options{For: "web"}); again.Origin != storedisk.Found {
				t.Errorf("third Build() = %s; want found", again.Origin)
			} else {
				again.Close()
			}
		})
	}
}

func TestUpdateOfAnImageInUseSharesBlocks(t *testing.T) {
	_, all := generations(t)
	dir := t.TempDir()
	mountNew(t, []string{"mkfs.btrfs", "-q"}, dir)
	cache := &storedisk.Cache{Dir: filepath.Join(dir, "cache")}
	first := build(t, cache, all[0], storedisk.Options{For: "web"})
	second := build(t, cache, all[1], storedisk.Options{For: "web"})
	if second.Origin != storedisk.Updated {
		t.Errorf("Build() while the earlier image is in use = %s; want it made out of a clone", second.Origin)
	}
	compareOnly(t, first, all[0])
	compareOnly(t, second, all[1])
	first.Close()
	second.Close()
}

// compareOnly compares an image with a closure that is not all of its store.
func compareOnly(t testing.TB, img *storedisk.Image, c *storedisk.Closure) {
	t.Helper()
	stage := t.TempDir()
	for _, name := range c.Names {
		if out, err := exec.Command("cp", "-a", c.Path(name), stage).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	at := t.TempDir()
	if out, err := exec.Command("mount", "-t", string(img.Type), "-o", "loop,ro", img.Path, at).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	compare(t, at, stage)
	if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
		t.Errorf("umount: %v\n%s", err, out)
	}
}

// mountNew makes a file system in a file and mounts it at dir.
func mountNew(t testing.TB, mkfs []string, dir string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 200<<20); err != nil {
		t.Fatal(err)
	}
	mkfs = append(mkfs, file)
	if out, err := exec.Command(mkfs[0], mkfs[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", mkfs, err, out)
	}
	mount(t, "-o", "loop", file, dir)
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}
