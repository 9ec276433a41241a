package storedisk_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/storedisk"
)

// generations are closures of one machine over time, in one store.
func generations(t testing.TB) (store string, all []*storedisk.Closure) {
	store = t.TempDir()
	paths := aFewPaths()
	all = append(all, plant(t, store, paths, false))
	for _, step := range []map[string]tree{
		{"etc-2": {"etc/passwd": "root:x:0:0\n"}},
		{"etc-2": nil, "etc-3": {"etc/passwd": strings.Repeat("user\n", 3000)}},
		{"etc-3": nil, "libs": nil, "libs-2": {"lib/liby.so": strings.Repeat("y", 70000)}},
	} {
		maps.Copy(paths, step)
		maps.DeleteFunc(paths, func(_ string, content tree) bool { return content == nil })
		added := map[string]tree{}
		for label, content := range step {
			if content != nil {
				added[label] = content
			}
		}
		plant(t, store, added, false)
		var names []string
		for label := range paths {
			names = append(names, filepath.Join(store, storeName(label)))
		}
		c, err := storedisk.New(store, names)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return store, all
}

func TestUpdateGivesTheBytesOfAFreshBuild(t *testing.T) {
	_, all := generations(t)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	for _, i := range []int{0, 1, 2, 3, 0, 2, 1, 3} {
		img, err := cache.Build(t.Context(), all[i], storedisk.Options{For: "web"})
		if err != nil {
			t.Fatal(err)
		}
		fresh := build(t, &storedisk.Cache{Dir: t.TempDir()}, all[i], storedisk.Options{})
		if got, want := content(t, img), content(t, fresh); got != want {
			t.Errorf("generation %d after updates (%s) holds %s; a fresh build holds %s", i, img.Origin, got, want)
		}
		if err := img.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(images(t, cache)); n != 1 {
			t.Errorf("after generation %d there are %d images; want the one that was updated", i, n)
		}
	}
}

func TestUpdateLeavesWhatOthersWant(t *testing.T) {
	_, all := generations(t)
	tests := []struct {
		name string
		// use makes something want the first generation's image.
		use  func(t *testing.T, cache *storedisk.Cache, img *storedisk.Image)
		kept bool
	}{
		{"nobody", func(t *testing.T, _ *storedisk.Cache, img *storedisk.Image) { img.Close() }, false},
		{"a lease", func(*testing.T, *storedisk.Cache, *storedisk.Image) {}, true},
		{"another name", func(t *testing.T, cache *storedisk.Cache, img *storedisk.Image) {
			img.Close()
			build(t, cache, all[0], storedisk.Options{For: "other"}).Close()
		}, true},
		{"a name that moved on", func(t *testing.T, cache *storedisk.Cache, img *storedisk.Image) {
			img.Close()
			build(t, cache, all[0], storedisk.Options{For: "other"}).Close()
			build(t, cache, all[3], storedisk.Options{For: "other"}).Close()
		}, false},
		{"somebody without a name", func(t *testing.T, cache *storedisk.Cache, img *storedisk.Image) {
			img.Close()
			build(t, cache, all[0], storedisk.Options{}).Close()
		}, true},
		{"a name that was forgotten", func(t *testing.T, cache *storedisk.Cache, img *storedisk.Image) {
			img.Close()
			build(t, cache, all[0], storedisk.Options{For: "other"}).Close()
			if err := cache.Forget("other"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"qemu", func(t *testing.T, _ *storedisk.Cache, img *storedisk.Image) {
			img.Close()
			lockLikeQEMU(t, img.Path)
		}, true},
		{"its builder's lock", func(t *testing.T, _ *storedisk.Cache, img *storedisk.Image) {
			img.Close()
			f, err := os.Create(filepath.Join(filepath.Dir(img.Path), "."+filepath.Base(img.Path)+".lock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cache := &storedisk.Cache{Dir: t.TempDir()}
			first := build(t, cache, all[0], storedisk.Options{For: "web"})
			before := content(t, first)
			tt.use(t, cache, first)

			second := build(t, cache, all[1], storedisk.Options{For: "web"})
			fresh := build(t, &storedisk.Cache{Dir: t.TempDir()}, all[1], storedisk.Options{})
			if got, want := content(t, second), content(t, fresh); got != want {
				t.Errorf("the second image holds %s; want %s", got, want)
			}
			_, err := os.Stat(first.Path)
			if kept := err == nil; kept != tt.kept {
				t.Fatalf("after an update the first image is kept: %v; want %v", kept, tt.kept)
			}
			if tt.kept && contentOf(t, first.Path) != before {
				t.Error("the first image was changed while it was wanted")
			}
		})
	}
}

// lockLikeQEMU opens an image and locks it as QEMU 7.2 does with readonly=on.
func lockLikeQEMU(t testing.TB, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	lk := unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk); err != nil {
		t.Fatal(err)
	}
}

func images(t testing.TB, cache *storedisk.Cache) []storedisk.Info {
	t.Helper()
	all, err := cache.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func content(t testing.TB, img *storedisk.Image) string { return contentOf(t, img.Path) }

func contentOf(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum, err := storedisk.Content(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
