package erofs

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// The benchmarks build from up to 1 GB of what is installed under /usr, one
// store path for each entry of the directories below. Run the bound, the full
// builds and the tool in turn, because machines drift:
//
//	go test -run - -bench Full -benchtime 1x -count 7 ./storedisk/erofs
//	go test -run - -bench Update -benchtime 20x -count 3 ./storedisk/erofs
const benchBytes = 1 << 30

var benchRoots = []string{"/usr/share", "/usr/lib/python3/dist-packages", "/usr/lib", "/usr/lib/x86_64-linux-gnu"}

// benchPaths returns the benchmark's store paths, each at most a quarter of
// all. Files that reading would not find are left out with their path.
func benchPaths(b *testing.B) (paths []Path, size int64) {
	b.Helper()
	for _, root := range benchRoots {
		ents, err := os.ReadDir(root)
		if err != nil {
			continue
		}
		for _, e := range ents {
			src := filepath.Join(root, e.Name())
			n, ok := benchSize(src)
			if !ok || n > benchBytes/4 || size+n > benchBytes {
				continue
			}
			size += n
			paths = append(paths, Path{Name: fmt.Sprintf("%032d-%s", len(paths), e.Name()), Source: src})
		}
	}
	if len(paths) == 0 {
		b.Fatalf("no directory of %v can be read", benchRoots)
	}
	return paths, size
}

func benchSize(path string) (n int64, ok bool) {
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if fi.Mode().IsRegular() {
			n += fi.Size()
		}
		return nil
	})
	return n, err == nil
}

func benchImage(b *testing.B) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "image"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// BenchmarkFull compares a build with its bound, which is cat of all files to
// one, and with mkfs.erofs.
func BenchmarkFull(b *testing.B) {
	paths, size := benchPaths(b)
	var sources bytes.Buffer
	for _, p := range paths {
		sources.WriteString(p.Source + "\x00")
	}
	shell := func(script string) func(b *testing.B) {
		return func(b *testing.B) {
			out := filepath.Join(b.TempDir(), "out")
			b.SetBytes(size)
			for b.Loop() {
				os.Remove(out)
				cmd := exec.Command("sh", "-c", script, "sh", out)
				cmd.Stdin = bytes.NewReader(sources.Bytes())
				if msg, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%s: %v\n%s", script, err, msg)
				}
			}
		}
	}
	build := func(o Options) func(b *testing.B) {
		return func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				f := benchImage(b)
				if _, err := Build(b.Context(), f, paths, o); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				f.Truncate(0)
				b.StartTimer()
			}
			var ru syscall.Rusage
			if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) == nil {
				b.ReportMetric(float64(ru.Maxrss)/1024, "peak-MB")
			}
		}
	}
	b.Run("cat", shell(`xargs -0 sh -c 'find "$@" -type f -print0' sh | xargs -0 cat > "$1"`))
	b.Run("sparse", build(Options{}))
	b.Run("packed", build(Options{Layout: Packed}))
	for _, jobs := range []int{1, 2, 4, 32} {
		b.Run(fmt.Sprintf("sparse-%d-jobs", jobs), build(Options{Jobs: jobs}))
	}
	b.Run("mkfs", func(b *testing.B) {
		// It takes one directory, so the paths are bound together first.
		root := b.TempDir()
		for _, p := range paths {
			if msg, err := exec.Command("cp", "-a", p.Source, filepath.Join(root, p.Name)).CombinedOutput(); err != nil {
				b.Fatalf("cp: %v\n%s", err, msg)
			}
		}
		out := filepath.Join(b.TempDir(), "out")
		for b.Loop() {
			os.Remove(out)
			if msg, err := exec.Command("mkfs.erofs", "-T1", "--all-root", out, root).CombinedOutput(); err != nil {
				b.Fatalf("mkfs.erofs: %v\n%s", err, msg)
			}
		}
	})
}

// BenchmarkUpdate measures updates of the same image.
func BenchmarkUpdate(b *testing.B) {
	paths, _ := benchPaths(b)
	r := rand.NewChaCha8([32]byte{})
	dir := b.TempDir()
	add := func(name string, size int) Path {
		p := filepath.Join(dir, name)
		os.MkdirAll(p, 0o755)
		for i := 0; size > 0; i++ {
			b := make([]byte, min(size, 4000+i*1000))
			r.Read(b)
			os.WriteFile(filepath.Join(p, fmt.Sprint("file", i)), b, 0o644)
			size -= len(b)
		}
		return Path{Name: name, Source: p}
	}
	const kb, mb = 1 << 10, 1 << 20
	sets := [][2][]Path{
		{{}, {}},
		{{add("etc-1", 10*kb), add("toplevel-1", 10*kb)}, {add("etc-2", 10*kb), add("toplevel-2", 10*kb)}},
		{{add("git-1", 46*mb)}, {add("git-2", 46*mb)}},
	}
	for i, name := range []string{"unchanged", "20KB", "46MB"} {
		b.Run(name, func(b *testing.B) {
			f := benchImage(b)
			var both [2][]Path
			for j, s := range sets[i] {
				both[j] = append(append([]Path{}, paths...), s...)
			}
			x, err := Build(b.Context(), f, both[0], Options{})
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				n++
				if x, _, err = Update(b.Context(), f, x, both[n%2], Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
