package erofs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// hostFS mounts a file system for images and sources, made by mkfs (which
// package debian has) in a file of size bytes. Without mkfs, it is mounted
// from nothing.
func hostFS(t *testing.T, typ, opts string, size int64, debian string, mkfs ...string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	dev := "none"
	if len(mkfs) > 0 {
		dev = filepath.Join(t.TempDir(), "disk")
		if err := errors.Join(os.WriteFile(dev, nil, 0o644), os.Truncate(dev, size)); err != nil {
			t.Fatal(err)
		}
		run(t, tool(t, mkfs[0], debian), append(mkfs[1:], dev)...)
		opts = "loop"
	}
	run(t, "mount", "-t", typ, "-o", opts, dev, dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

func imageIn(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A file system that cannot hold a sparse image says so before anything is
// written, and holds a packed one.
func TestFileSystemsWithoutSparseImages(t *testing.T) {
	paths := edgePaths(t)
	tests := map[string]func(t *testing.T) string{
		"no holes": func(t *testing.T) string { return hostFS(t, "ramfs", "mode=755", 0, "") },
		"no files of 1 TiB": func(t *testing.T) string {
			return hostFS(t, "ext4", "", 64<<20, "e2fsprogs", "mkfs.ext4", "-q", "-b", "1024", "-O", "^extent,^64bit")
		},
	}
	for name, mount := range tests {
		t.Run(name, func(t *testing.T) {
			f := imageIn(t, mount(t))
			if _, err := Build(t.Context(), f, paths, Options{}); !errors.Is(err, ErrNotSparse) {
				t.Fatalf("Build() = %v; want ErrNotSparse", err)
			}
			if fi, err := f.Stat(); err != nil || fi.Size() != 0 {
				t.Fatalf("after ErrNotSparse the file has %d bytes, %v; want none", fi.Size(), err)
			}
			if _, err := Build(t.Context(), f, paths, Options{Layout: Packed}); err != nil {
				t.Fatal(err)
			}
			checkReader(t, f, paths)
		})
	}
}

func TestDiskFull(t *testing.T) {
	paths := edgePaths(t)
	small := []Path{{"small", files{"f": "x"}.make(t, filepath.Join(t.TempDir(), "small"))}}
	for name, layout := range map[string]Layout{"sparse": Sparse, "packed": Packed} {
		t.Run(name, func(t *testing.T) {
			f := imageIn(t, hostFS(t, "tmpfs", "size=6m", 0, ""))
			o := Options{Layout: layout}
			if _, err := Build(t.Context(), f, paths, o); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("Build() = %v; want %v", err, unix.ENOSPC)
			}
			if err := f.Truncate(0); err != nil {
				t.Fatal(err)
			}
			x, err := Build(t.Context(), f, small, o)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := Update(t.Context(), f, x, paths, o); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("Update() = %v; want %v", err, unix.ENOSPC)
			}
			if _, _, err := Update(t.Context(), f, x, small, o); !errors.Is(err, ErrIndex) {
				t.Errorf("Update() of a half-made image = %v; want ErrIndex", err)
			}
		})
	}
}

// Where blocks can be shared they are, and a clone of an image can be updated
// in its place.
func TestReflink(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"xfs":   {"xfsprogs", "mkfs.xfs", "-q", "-m", "reflink=1"},
		"btrfs": {"btrfs-progs", "mkfs.btrfs", "-q"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := hostFS(t, name, "", 400<<20, mkfs[0], mkfs[1:]...)
			const large = 40<<20 + 123
			src := files{
				"large": noise(large), "medium": noise(300_000), "small": "x", "tail": noise(6000),
				"link": "-> small", "zero": "",
			}.make(t, filepath.Join(dir, "src"))
			other := files{"f": noise(2 << 20)}.make(t, filepath.Join(dir, "other"))
			paths := []Path{{"a", src}, {"b", other}}
			settle()

			free := func() int64 {
				t.Helper()
				run(t, "sync", "-f", dir)
				var st unix.Statfs_t
				if err := unix.Statfs(dir, &st); err != nil {
					t.Fatal(err)
				}
				return int64(st.Bfree) * st.Bsize
			}
			before := free()
			f := imageIn(t, dir)
			x, err := Build(t.Context(), f, paths, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if took := before - free(); took > x.Size()-large {
				t.Errorf("image of %d bytes took %d of disk; want its %d shared", x.Size(), took, large)
			}
			fsck(t, f)
			checkReader(t, f, paths)

			// On another file system nothing is shared: same bytes.
			plain, _ := build(t, paths, Options{})
			if got, want := digest(t, f), digest(t, plain); got != want {
				t.Errorf("image with shared blocks is %s; want %s", got, want)
			}

			// While a VM uses the image, a clone of it is updated.
			clone, err := os.Create(filepath.Join(dir, "clone"))
			if err != nil {
				t.Fatal(err)
			}
			defer clone.Close()
			if err := unix.IoctlFileClone(int(clone.Fd()), int(f.Fd())); err != nil {
				t.Fatal(err)
			}
			_, st, err := Update(t.Context(), clone, x, paths[1:], Options{})
			if err != nil || st.Kept != 1 {
				t.Errorf("Update() of a clone = %+v, %v; want one path kept", st, err)
			}
			checkReader(t, clone, paths[1:])
			checkReader(t, f, paths)
		})
	}
}
