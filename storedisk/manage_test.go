package storedisk_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mvmrun/mvm/storedisk"
)

func TestListDescribesImages(t *testing.T) {
	store := t.TempDir()
	c := plant(t, store, aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	if all := images(t, &storedisk.Cache{Dir: cache.Dir + "/none"}); len(all) != 0 {
		t.Errorf("List() of no cache = %v; want nothing", all)
	}
	img := build(t, cache, c, storedisk.Options{For: "/var/lib/mvm/web"})
	build(t, cache, c, storedisk.Options{For: ".hidden"}).Close()
	sq := build(t, cache, c, storedisk.Options{Type: storedisk.Squashfs})
	sq.Close()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(img.Path+".json", old, old); err != nil {
		t.Fatal(err)
	}
	want := []storedisk.Info{
		{
			Path: sq.Path, Digest: sq.Digest, Type: storedisk.Squashfs, Apparent: sq.Apparent,
			StoreDir: store, Paths: len(c.Names),
		},
		{
			Path: img.Path, Digest: img.Digest, Type: storedisk.Erofs, Apparent: 1 << 40,
			Label: storedisk.Label, UUID: img.UUID, StoreDir: store, Paths: len(c.Names),
			For: []string{".hidden", "/var/lib/mvm/web"}, InUse: true,
		},
	}
	ignore := cmpopts.IgnoreFields(storedisk.Info{}, "Size", "Made", "LastUsed", "Took")
	if diff := cmp.Diff(want, images(t, cache), ignore); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			c := plant(t, t.TempDir(), pathsFor(o), false)
			cache := &storedisk.Cache{Dir: t.TempDir()}
			img := build(t, cache, c, o)
			for _, first := range []bool{true, false} {
				v, err := cache.Verify(t.Context(), img.Path)
				if err != nil || v.Fault != "" || v.First != first {
					t.Fatalf("Verify(a sound image) = %+v, %v; want no fault, first = %v", v, err, first)
				}
			}
			fi, err := os.Stat(img.Path)
			if err != nil {
				t.Fatal(err)
			}
			flipSomeData(t, img.Path)
			if err := os.Chtimes(img.Path, fi.ModTime(), fi.ModTime()); err != nil {
				t.Fatal(err)
			}
			if v, err := cache.Verify(t.Context(), img.Path); err != nil || v.Fault == "" {
				t.Errorf("Verify(a damaged image) = %+v, %v; want a fault", v, err)
			}
		})
	}
}

// flipSomeData changes one byte of a file in the image, as a bad disk might.
func flipSomeData(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := int64(2048) // behind the superblock
	if filepath.Ext(path) == ".squashfs" {
		start = 96
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(buf)) {
		n, err := f.ReadAt(buf, off)
		for i, b := range buf[:n] {
			if off+int64(i) > start && b != 0 {
				if _, err := f.WriteAt([]byte{b ^ 1}, off+int64(i)); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		if err != nil {
			t.Fatalf("%s has no data: %v", path, err)
		}
	}
}

func TestGCRemovesWhatNobodyWants(t *testing.T) {
	_, all := generations(t)
	setUp := func(t *testing.T) (*storedisk.Cache, map[string]string) {
		cache := &storedisk.Cache{Dir: t.TempDir()}
		paths := map[string]string{}
		for i, step := range []struct {
			name string
			o    storedisk.Options
		}{
			{"oldest", storedisk.Options{}},
			{"wanted", storedisk.Options{For: "web"}},
			{"in use", storedisk.Options{}},
			{"newest", storedisk.Options{Type: storedisk.Squashfs}},
		} {
			img := build(t, cache, all[i], step.o)
			if step.name != "in use" {
				img.Close()
			}
			when := time.Now().Add(time.Duration(i-10) * time.Minute)
			if err := os.Chtimes(img.Path+".json", when, when); err != nil {
				t.Fatal(err)
			}
			paths[img.Path] = step.name
		}
		return cache, paths
	}
	sizeOf := func(cache *storedisk.Cache) (n int64) {
		for _, info := range images(t, cache) {
			n += info.Size
		}
		return n
	}
	tests := []struct {
		name    string
		options func(size int64) storedisk.GCOptions
		removed []string
		left    int
	}{
		{"all", func(int64) storedisk.GCOptions { return storedisk.GCOptions{} }, []string{"oldest", "newest"}, 2},
		{"dry", func(int64) storedisk.GCOptions { return storedisk.GCOptions{DryRun: true} }, []string{"oldest", "newest"}, 4},
		{"room enough", func(n int64) storedisk.GCOptions { return storedisk.GCOptions{MaxSize: n} }, nil, 4},
		{"least recently used", func(n int64) storedisk.GCOptions { return storedisk.GCOptions{MaxSize: n - 1} }, []string{"oldest"}, 3},
		{"gone", func(int64) storedisk.GCOptions {
			return storedisk.GCOptions{Gone: func(who string) bool { return who == "web" }}
		}, []string{"oldest", "wanted", "newest"}, 1},
		{"kept", func(int64) storedisk.GCOptions {
			return storedisk.GCOptions{Keep: func(i storedisk.Info) bool { return i.Type == storedisk.Squashfs }}
		}, []string{"oldest"}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cache, paths := setUp(t)
			before := sizeOf(cache)
			r, err := cache.GC(t.Context(), tt.options(before))
			if err != nil {
				t.Fatal(err)
			}
			var removed []string
			for _, info := range r.Removed {
				removed = append(removed, paths[info.Path])
			}
			if diff := cmp.Diff(tt.removed, removed); diff != "" {
				t.Errorf("GC removed (-want +got):\n%s", diff)
			}
			if n := len(images(t, cache)); n != tt.left {
				t.Errorf("GC left %d images; want %d", n, tt.left)
			}
			if r.Freed+r.Left != before {
				t.Errorf("GC freed %d and left %d; want %d together", r.Freed, r.Left, before)
			}
		})
	}
}

func TestGCRemovesUnfinishedImages(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	img := build(t, cache, c, storedisk.Options{For: "web"})
	img.Close()
	if err := os.Remove(img.Path + ".json"); err != nil {
		t.Fatal(err)
	}
	for _, litter := range []string{".tmp", ".lock", ".json.tmp"} {
		if err := os.WriteFile(filepath.Join(cache.Dir, "."+filepath.Base(img.Path)+litter), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cache.GC(t.Context(), storedisk.GCOptions{MaxSize: 1 << 50}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"refs"}, entries(t, cache.Dir)); diff != "" {
		t.Errorf("after GC the cache has (-want +got):\n%s", diff)
	}
}

func TestRemoveIsForImages(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	img := build(t, cache, c, storedisk.Options{})
	if err := cache.Remove(img.Path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Remove(an image in use) = %v; want an error", err)
	}
	for _, path := range []string{img.Path + ".json", "/etc/passwd", cache.Dir} {
		if err := cache.Remove(path); err == nil {
			t.Errorf("Remove(%s) succeeded; want an error", path)
		}
	}
	img.Close()
	if err := cache.Remove(img.Path); err != nil {
		t.Error(err)
	}
}

func TestCreateAndStream(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			c := plant(t, t.TempDir(), pathsFor(o), false)
			cache := &storedisk.Cache{Dir: t.TempDir()}
			file := filepath.Join(t.TempDir(), "out", "disk")
			if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			img, err := cache.Create(t.Context(), c, o, file)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if img.Apparent > 100<<20 {
				t.Errorf("Create() made %d bytes; want no tebibyte", img.Apparent)
			}
			compareOnly(t, img, c)
			if diff := cmp.Diff([]string{"disk"}, entries(t, filepath.Dir(file))); diff != "" {
				t.Errorf("Create() left (-want +got):\n%s", diff)
			}

			var stream bytes.Buffer
			if err := cache.Stream(t.Context(), c, o, &stream); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(stream.Bytes(), read(t, file)) {
				t.Error("Stream() and Create() gave different images")
			}
			if left := entries(t, cache.Dir); len(left) > 0 {
				t.Errorf("Stream() left %q", left)
			}
		})
	}
}

func TestCompressZstd(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	img, err := cache.Create(t.Context(), c, storedisk.Options{Type: storedisk.Btrfs}, filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	var once, twice bytes.Buffer
	for _, b := range []*bytes.Buffer{&once, &twice} {
		if err := storedisk.CompressZstd(t.Context(), b, img.File()); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Error("CompressZstd() gave two different results")
	}
	unzstd := exec.Command("zstd", "-d", "-c")
	unzstd.Stdin = &once
	out, err := unzstd.Output()
	if err != nil {
		t.Fatalf("zstd: %v (package zstd)", err)
	}
	if !bytes.Equal(out, read(t, img.Path)) {
		t.Error("zstd -d does not give the image back")
	}
	sparse := build(t, cache, c, storedisk.Options{})
	if err := storedisk.CompressZstd(t.Context(), &once, sparse.File()); err == nil || !strings.Contains(err.Error(), "packed") {
		t.Errorf("CompressZstd(sparse image) = %v; want an error that names the packed one", err)
	}
}
