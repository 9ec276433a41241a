package storedisk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mvmrun/mvm/storedisk"
)

// benchStore names the directory of a large store of finished paths, such as
// scripts/make-closure makes.
const benchStore = "MVM_BENCH_STORE"

// benchClosure is all of the store that the environment names.
func benchClosure(b *testing.B) *storedisk.Closure {
	b.Helper()
	store := os.Getenv(benchStore)
	if store == "" {
		b.Skip("set " + benchStore + " to a directory of store paths")
	}
	paths, err := filepath.Glob(store + "/*-*")
	if err != nil {
		b.Fatal(err)
	}
	c, err := storedisk.New(store, paths)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkBuild(b *testing.B) {
	c := benchClosure(b)
	for _, name := range sortedKeys(variants, false) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cache := &storedisk.Cache{Dir: b.TempDir()}
				img := build(b, cache, c, variants[name])
				b.ReportMetric(float64(img.Size)/(1<<20), "MiB")
				b.StopTimer()
				os.RemoveAll(cache.Dir)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkBuildFound(b *testing.B) {
	c := benchClosure(b)
	cache := &storedisk.Cache{Dir: b.TempDir()}
	build(b, cache, c, storedisk.Options{})
	for b.Loop() {
		img, err := cache.Build(b.Context(), c, storedisk.Options{For: "bench"})
		if err != nil || img.Origin != storedisk.Found {
			b.Fatalf("Build() = %v, %v; want a found image", img, err)
		}
		img.Close()
	}
}

// BenchmarkBuildChanged goes to and fro between two closures, of which one
// lacks the smallest path.
func BenchmarkBuildChanged(b *testing.B) {
	c := benchClosure(b)
	size, err := storedisk.Size(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	fewer, err := c.Without(size.Paths[len(size.Paths)-1].Path)
	if err != nil {
		b.Fatal(err)
	}
	cache := &storedisk.Cache{Dir: b.TempDir()}
	first, err := cache.Build(b.Context(), c, storedisk.Options{For: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	first.Close()
	next, other := fewer, c
	for b.Loop() {
		img, err := cache.Build(b.Context(), next, storedisk.Options{For: "bench"})
		if err != nil || img.Origin != storedisk.Updated {
			b.Fatalf("Build() = %v, %v; want an updated image", img, err)
		}
		img.Close()
		next, other = other, next
	}
}

// BenchmarkTools runs the bare tools on the same store.
func BenchmarkTools(b *testing.B) {
	c := benchClosure(b)
	out := filepath.Join(b.TempDir(), "image")
	for _, tool := range [][]string{
		{"sh", "-c", "find " + c.StoreDir + " -type f -print0 | xargs -0 cat > " + out},
		{"mkfs.erofs", "--quiet", out, c.StoreDir},
		{"mksquashfs", c.StoreDir, out, "-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "1"},
		{"mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", "200000", "-d", c.StoreDir, out, "4G"},
		{"mkfs.btrfs", "-q", "-f", "--shrink", "--rootdir", c.StoreDir, out},
	} {
		b.Run(tool[0], func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				os.Remove(out)
				os.WriteFile(out, nil, 0o600)
				b.StartTimer()
				if said, err := exec.Command(tool[0], tool[1:]...).CombinedOutput(); err != nil {
					b.Fatalf("%q: %v\n%s", tool, err, said)
				}
			}
		})
	}
}
