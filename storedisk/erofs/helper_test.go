package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	goerofs "github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tool returns the path of a program that a test cannot do without.
func tool(t testing.TB, name, debian string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt install %s", name, debian)
	}
	return p
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root: run the tests as root")
	}
}

// A file map describes a tree: content by path, with a trailing slash for a
// directory and "-> target" for a symbolic link.
type files map[string]string

// make makes the tree under dir and returns dir.
func (fsys files) make(t testing.TB, dir string) string {
	t.Helper()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.MkdirAll(dir, 0o755))
	for name, content := range fsys {
		p := filepath.Join(dir, name)
		do(os.MkdirAll(filepath.Dir(p), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			do(os.Symlink(target, p))
		} else if strings.HasSuffix(name, "/") {
			do(os.MkdirAll(p, 0o755))
		} else {
			do(os.WriteFile(p, []byte(content), 0o644))
			if strings.HasPrefix(content, "#!") {
				do(os.Chmod(p, 0o755))
			}
		}
	}
	return dir
}

// newImage returns an empty file for an image.
func newImage(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// build builds an image in a new file.
func build(t testing.TB, paths []Path, o Options) (*os.File, *Index) {
	t.Helper()
	f := newImage(t)
	x, err := Build(t.Context(), f, paths, o)
	if err != nil {
		t.Fatalf("Build() = %v", err)
	}
	return f, x
}

// mount mounts the image in f and returns where.
func mount(t testing.TB, f *os.File) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	run(t, "mount", "-t", "erofs", "-o", "ro,loop", f.Name(), dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

// fsck checks the image in f.
func fsck(t testing.TB, f *os.File) {
	t.Helper()
	run(t, tool(t, "fsck.erofs", "erofs-utils"), "--extract", f.Name())
}

// manifest describes everything at name of fsys, by path below prefix.
func manifest(t testing.TB, m map[string]string, fsys fs.FS, name, prefix string) {
	t.Helper()
	buf := make([]byte, 64<<10)
	visit := func(p string, fi fs.FileInfo) error {
		line := fmt.Sprintf("%v", fi.Mode().Type()|fi.Mode().Perm())
		switch fi.Mode().Type() {
		case 0:
			r, err := fsys.Open(p)
			if err != nil {
				return err
			}
			defer r.Close()
			h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
			n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, buf)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d of %d bytes %08x", n, fi.Size(), h.Sum32())
		case fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d -> %s", fi.Size(), target)
		}
		if name != "." {
			p = strings.TrimPrefix(p, name)
		}
		m[path.Join(prefix, p)] = line
		return nil
	}
	fi, err := fs.Lstat(fsys, name)
	if err == nil && !fi.IsDir() {
		err = visit(name, fi)
	} else if err == nil {
		err = fs.WalkDir(fsys, name, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			return visit(p, fi)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sources describes what an image of paths must hold.
func sources(t testing.TB, paths []Path) map[string]string {
	t.Helper()
	m := map[string]string{".": "drwxr-xr-x"}
	for _, p := range paths {
		manifest(t, m, os.DirFS(filepath.Dir(p.Source)), filepath.Base(p.Source), p.Name)
	}
	return m
}

// checkMount compares the mounted image with its sources file by file.
func checkMount(t testing.TB, f *os.File, paths []Path) {
	t.Helper()
	dir := mount(t, f)
	got := map[string]string{}
	manifest(t, got, os.DirFS(dir), ".", ".")
	if diff := cmp.Diff(sources(t, paths), got); diff != "" {
		t.Errorf("mounted image differs from its sources (-want +got):\n%s", diff)
	}
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if st.Uid != 0 || st.Gid != 0 || st.Mtim.Sec != 1 || st.Mtim.Nsec != 0 {
			t.Errorf("%s: owner %d:%d, time %d.%d; want 0:0 and 1.0", p, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// checkReader compares the image, as go-erofs reads it, with its sources.
func checkReader(t testing.TB, f *os.File, paths []Path) {
	t.Helper()
	fsys, err := goerofs.Open(f)
	if err != nil {
		t.Fatalf("go-erofs: %v", err)
	}
	got := map[string]string{}
	manifest(t, got, fsys, ".", ".")
	if diff := cmp.Diff(sources(t, paths), got); diff != "" {
		t.Errorf("go-erofs reads another image than was written (-want +got):\n%s", diff)
	}
}

// digest describes the content of f: its size, and the checksum of each block
// that is not all zeros.
func digest(t testing.TB, f *os.File) string {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	buf, zero := make([]byte, blockSize), make([]byte, blockSize)
	for off := int64(0); off < fi.Size(); {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		hole, err2 := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		for off = data &^ (blockSize - 1); off < hole; off += blockSize {
			clear(buf)
			if _, err := f.ReadAt(buf, off); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if !bytes.Equal(buf, zero) {
				fmt.Fprintln(h, off)
				h.Write(buf)
			}
		}
	}
	return fmt.Sprintf("%d bytes, %08x", fi.Size(), h.Sum32())
}

// allocated returns how many bytes f takes on disk.
func allocated(t testing.TB, f *os.File) int64 {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}
