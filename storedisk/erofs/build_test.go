package erofs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// noise returns n bytes that are the same for the same n, and not compressible.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return string(b)
}

// edges is one store path with what is easy to get wrong.
func edges() files {
	fsys := files{
		"empty/":                               "",
		"names/" + strings.Repeat("n", 255):    "longest",
		"names/" + strings.Repeat("ü", 127):    "UTF-8",
		"names/ " + "\n\t":                     "blank",
		"links/short":                          "-> x",
		"links/dangling":                       "-> /nix/store/none",
		"links/4064":                           "-> " + strings.Repeat("a/", 4064/2),
		"links/4065":                           "-> " + strings.Repeat("a/", 4064/2) + "b",
		"links/4095":                           "-> " + strings.Repeat("a/", 4094/2) + "b",
		"script":                               "#!/bin/sh\n",
		"deep" + strings.Repeat("/d", 200):     "down",
		"blocks/1MiB":                          noise(stageSize),
		"blocks/1MiB-1":                        noise(stageSize - 1),
		"blocks/1MiB+1":                        noise(stageSize + 1),
		"blocks/2MiB+4065":                     noise(2*stageSize + 4065),
		"blocks/5MiB-7":                        noise(5*stageSize - 7),
		"zeros/4096":                           strings.Repeat("\x00", 4096),
		"zeros/9000":                           strings.Repeat("\x00", 9000),
		"manylinks/" + strings.Repeat("l", 99): "-> 1",
	}
	// "." and ".." have no place of their own in a directory.
	for _, name := range []string{"!x", "+x", "-x", ".-", "...", ".a", "0", "\x01", "-"} {
		fsys["dots/"+name] = name
	}
	for _, b := range []int{0, 4096, 8192} {
		for d := -1; d <= 1; d++ {
			fsys[fmt.Sprintf("sizes/%d", max(0, b+d))] = noise(max(0, b+d))
		}
	}
	// Around the tail that just fits behind a compact inode.
	for n := 4062; n <= 4067; n++ {
		fsys[fmt.Sprintf("tails/%d", n)] = noise(n)
		fsys[fmt.Sprintf("tails/4096+%d", n)] = noise(4096 + n)
	}
	// Directories whose entries just fill a block, and just do not.
	for n := 60; n < 70; n++ {
		for i := range n {
			fsys[fmt.Sprintf("dirs/%d/%051d", n, i)] = "-> x"
		}
	}
	for i := range 1000 {
		fsys[fmt.Sprintf("inodes/%d", i)] = fmt.Sprint(i)
	}
	return fsys
}

// edgePaths are edges, and store paths that are not directories.
func edgePaths(t testing.TB) []Path {
	dir := t.TempDir()
	root := edges().make(t, filepath.Join(dir, "edges"))
	if err := os.Chmod(filepath.Join(root, "script"), 0o555); err != nil {
		t.Fatal(err)
	}
	files{
		"file": noise(10_000), "small": "x", "none": "", "large": noise(spanSize + 5<<20 + 3),
		"link": "-> edges/script", "empty/": "",
	}.make(t, dir)
	var paths []Path
	for _, name := range []string{"edges", "file", "small", "none", "large", "link", "empty"} {
		paths = append(paths, Path{Name: strings.Repeat("0", 32) + "-" + name, Source: filepath.Join(dir, name)})
	}
	for _, name := range []string{"!", "-", "...", "ü", strings.Repeat("r", 255)} {
		paths = append(paths, Path{Name: name, Source: filepath.Join(dir, "small")})
	}
	return paths
}

func TestBuildEdgeCases(t *testing.T) {
	paths := edgePaths(t)
	for name, layout := range map[string]Layout{"sparse": Sparse, "packed": Packed} {
		t.Run(name, func(t *testing.T) {
			f, x := build(t, paths, Options{Label: "nix-store", Layout: layout})
			if got, want := x.Files(), int64(len(sources(t, paths))); got != want {
				t.Errorf("Files() = %d; want %d", got, want)
			}
			// A file system may add a block for its own map of a sparse file.
			if got, want := allocated(t, f), x.Size(); got < want || got > want+1<<20 {
				t.Errorf("image takes %d bytes; want Size() = %d", got, want)
			}
			fsck(t, f)
			checkReader(t, f, paths)
			checkMount(t, f, paths)
		})
	}
}

// Names are bytes, whatever package io/fs thinks of them.
func TestBuildNamesThatAreNotText(t *testing.T) {
	fsys := files{}
	for i := 1; i < 256; i++ {
		if i != '/' {
			fsys["a"+string([]byte{byte(i)})] = fmt.Sprint(i)
		}
	}
	src := fsys.make(t, filepath.Join(t.TempDir(), "src"))
	f, _ := build(t, []Path{{Name: "\xff\xfe", Source: src}}, Options{})
	fsck(t, f)
	run(t, tool(t, "diff", "diffutils"), "-r", "--no-dereference", src, filepath.Join(mount(t, f), "\xff\xfe"))
}

func TestBuildEverySizeToTwoBlocks(t *testing.T) {
	fsys := files{}
	for n := range 8194 {
		fsys[fmt.Sprintf("%d/%d", n/100, n)] = noise(n)
	}
	paths := []Path{{Name: "sizes", Source: fsys.make(t, filepath.Join(t.TempDir(), "sizes"))}}
	f, _ := build(t, paths, Options{})
	fsck(t, f)
	checkMount(t, f, paths)
}

func TestBuildLargeDirectory(t *testing.T) {
	dir := t.TempDir()
	for i := range 20_000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%40))), nil, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	paths := []Path{{Name: "dir", Source: dir}}
	f, _ := build(t, paths, Options{})
	fsck(t, f)
	checkReader(t, f, paths)
	checkMount(t, f, paths)
}

func TestBuildManyRootEntries(t *testing.T) {
	src := files{"x": "-> y", "d/": ""}.make(t, t.TempDir())
	entries := func(n, dirs int) []Path {
		var paths []Path
		for i := range n {
			source := filepath.Join(src, "x")
			if i < dirs {
				source = filepath.Join(src, "d")
			}
			paths = append(paths, Path{Name: fmt.Sprintf("%032x-name-%d", i*i, i), Source: source})
		}
		return paths
	}
	for _, n := range []int{0, 1, 2500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			paths := entries(n, n/2)
			f, _ := build(t, paths, Options{})
			fsck(t, f)
			checkMount(t, f, paths)
		})
	}
	// So many that the head must grow, and the root's links need its large
	// inode.
	t.Run("70000", func(t *testing.T) {
		const dirs = 66_000
		paths := entries(70_000, dirs)
		// In memory, because mounting syncs 70,000 blocks far from each other.
		f := imageIn(t, hostFS(t, "tmpfs", "size=1g", 0, ""))
		if _, err := Build(t.Context(), f, paths, Options{}); err != nil {
			t.Fatal(err)
		}
		fsck(t, f)
		root := mount(t, f)
		for i := 0; i < len(paths); i += 101 {
			if _, err := os.Lstat(filepath.Join(root, paths[i].Name)); err != nil {
				t.Error(err)
			}
		}
		var st unix.Stat_t
		if err := unix.Stat(root, &st); err != nil || st.Nlink != dirs+2 || st.Mtim.Sec != buildTime {
			t.Errorf("root has %d links and time %d, %v; want %d and %d", st.Nlink, st.Mtim.Sec, err, dirs+2, buildTime)
		}
	})
}

// A file of more than 4 GiB has a large inode, is written in spans, and is not
// read where it has holes.
func TestBuildFileLargerThan4GiB(t *testing.T) {
	const size = 4<<30 + 5000
	src, err := os.Create(filepath.Join(t.TempDir(), "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	marks := []int64{0, 12_345, spanSize - 10, 1<<30 - 3, 4<<30 - 1, size - 5}
	for _, off := range marks {
		if _, err := src.WriteAt([]byte("here!"), off); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		layout       Layout
		source, name string
	}{
		"in a directory":          {Sparse, filepath.Dir(src.Name()), "p/big"},
		"as a store path, packed": {Packed, src.Name(), "p"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			img, _ := build(t, []Path{{Name: "p", Source: tt.source}}, Options{Layout: tt.layout})
			if got := allocated(t, img); got > 2<<20 {
				t.Errorf("image takes %d bytes; the source's holes were filled", got)
			}
			f, err := os.Open(filepath.Join(mount(t, img), tt.name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if fi, err := f.Stat(); err != nil || fi.Size() != size || fi.ModTime().Unix() != buildTime {
				t.Errorf("file has %d bytes and time %v, %v; want %d and %d", fi.Size(), fi.ModTime(), err, size, buildTime)
			}
			for _, off := range marks {
				got, want := make([]byte, 1<<20), make([]byte, 1<<20)
				off = max(0, off-1<<19)
				if _, err := f.ReadAt(got, off); err != nil && err != io.EOF {
					t.Error(err)
				}
				if _, err := src.ReadAt(want, off); err != nil && err != io.EOF {
					t.Error(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("1 MiB from %d differs from the source", off)
				}
			}
		})
	}
}

// The image may depend only on names, contents and permissions.
func TestBuildIsReproducible(t *testing.T) {
	paths := edgePaths(t)
	if err := os.Chmod(filepath.Join(paths[0].Source, "blocks"), 0o555); err != nil {
		t.Fatal(err)
	}
	for name, layout := range map[string]Layout{"sparse": Sparse, "packed": Packed} {
		t.Run(name, func(t *testing.T) {
			o := Options{Label: "l", UUID: [16]byte{1, 2, 3}, Layout: layout, Jobs: 1}
			f, _ := build(t, paths, o)
			want := digest(t, f)

			// Elsewhere, in another order, with other times, owners, readers
			// and hard links.
			dir := t.TempDir()
			var others []Path
			for _, p := range paths {
				base := filepath.Base(p.Source)
				others = append(others, Path{p.Name, filepath.Join(dir, base)})
				if _, err := os.Lstat(filepath.Join(dir, base)); err == nil {
					continue
				}
				run(t, "cp", "-rT", "--preserve=mode,links", p.Source, filepath.Join(dir, base))
			}
			blocks := filepath.Join(dir, "edges", "zeros")
			if os.Geteuid() == 0 {
				run(t, "chown", "-hR", "1234:99", blocks)
			}
			run(t, "chmod", "u+s", filepath.Join(dir, "edges", "script"))
			if err := os.WriteFile(filepath.Join(dir, "again"), []byte(noise(4096)), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"sizes/4096"} {
				p := filepath.Join(dir, "edges", name)
				if err := os.Remove(p); err != nil {
					t.Fatal(err)
				}
				if err := os.Link(filepath.Join(dir, "again"), p); err != nil {
					t.Fatal(err)
				}
			}
			slices.Reverse(others)
			o.Jobs = 7
			f, _ = build(t, others, o)
			if got := digest(t, f); got != want {
				t.Errorf("image of a copy is %s; want %s", got, want)
			}
		})
	}
}

// TestBuildBytes fails when an image comes out otherwise than it used to.
func TestBuildBytes(t *testing.T) {
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	dir := t.TempDir()
	root := edges().make(t, filepath.Join(dir, "edges"))
	paths := []Path{
		{"b-edges", root},
		{"a-file", filepath.Join(root, "blocks/5MiB-7")},
		{"c-link", filepath.Join(root, "links/short")},
	}
	want := map[Layout]string{
		Sparse: "1099511627776 bytes, 25935de2",
		Packed: "16080896 bytes, ae676545",
	}
	for layout, want := range want {
		f, _ := build(t, paths, Options{Label: "nix-store", UUID: [16]byte{15: 1}, Layout: layout})
		if got := digest(t, f); got != want {
			t.Errorf("layout %d: image is %s; want %s. If that is meant, raise the version in indexMagic", layout, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	paths := edgePaths(t)
	var done, total int64
	_, x := build(t, paths, Options{Progress: func(d, n int64) {
		if d <= done || total != 0 && n != total {
			t.Errorf("Progress(%d, %d) after (%d, %d)", d, n, done, total)
		}
		done, total = d, n
	}})
	// The head is not part of it.
	if want := x.Size() - int64(1+x.root)<<blockBits; done != want || total != want {
		t.Errorf("Progress ended with (%d, %d); want (%d, %[3]d)", done, total, want)
	}
}
