package erofs

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBuildRefusesNames(t *testing.T) {
	dir := t.TempDir()
	paths := []Path{
		{"", dir}, {".", dir}, {"..", dir}, {"a/b", dir}, {"nul\x00", dir},
		{strings.Repeat("n", 256), dir}, {"twice", dir}, {"twice", dir}, {"sourceless", ""},
	}
	_, err := Build(t.Context(), newImage(t), paths, Options{})
	if err == nil {
		t.Fatal("Build() of bad names succeeded")
	}
	for _, want := range []string{
		`name "" cannot be`, `name "." cannot be`, `name ".." cannot be`, `"a/b" contains`, `"nul\x00" contains`,
		"has 256 bytes", `"twice" is used twice`, `"sourceless" has no source`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Build() = %v; want all mistakes at once, and %q among them", err, want)
		}
	}
}

func TestBuildRefusesOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"at most 15":     {Label: "sixteen bytes...."[:16]},
		"a NUL":          {Label: "a\x00b"},
		"unknown layout": {Layout: 2},
	} {
		f := newImage(t)
		if _, err := Build(t.Context(), f, nil, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Build(%+v) = %v; want an error with %q", o, err, want)
		}
		if fi, err := f.Stat(); err != nil || fi.Size() != 0 {
			t.Errorf("Build(%+v) wrote to the file all the same", o)
		}
	}
	if _, err := Build(t.Context(), newImage(t), nil, Options{Label: "fifteen bytes.."}); err != nil {
		t.Errorf("Build() with a label of 15 bytes = %v", err)
	}
}

func TestBuildWantsEmptyFile(t *testing.T) {
	f, _ := build(t, nil, Options{Layout: Packed})
	if _, err := Build(t.Context(), f, nil, Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("Build() into an image = %v; want an error", err)
	}
}

// What cannot be in a store is an error that names it.
func TestBuildRefusesOtherFileTypes(t *testing.T) {
	mknod := func(mode uint32) func(p string) error {
		return func(p string) error {
			if mode != unix.S_IFIFO {
				needRoot(t)
			}
			return unix.Mknod(p, mode|0o644, int(unix.Mkdev(1, 3)))
		}
	}
	tests := map[string]struct {
		make func(p string) error
		want string
	}{
		"fifo":  {mknod(unix.S_IFIFO), "is a named pipe"},
		"char":  {mknod(unix.S_IFCHR), "is a device"},
		"block": {mknod(unix.S_IFBLK), "is a device"},
		"socket": {func(p string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}, "is a socket"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := files{"d/": ""}.make(t, filepath.Join(t.TempDir(), "p"))
			p := filepath.Join(dir, "d", name)
			if err := tt.make(p); err != nil {
				t.Fatal(err)
			}
			for _, source := range []string{dir, p} {
				_, err := Build(t.Context(), newImage(t), []Path{{"p", source}}, Options{})
				if err == nil || !strings.Contains(err.Error(), p+" "+tt.want) {
					t.Errorf("Build(%s) = %v; want %q", source, err, p+" "+tt.want)
				}
			}
		})
	}
}

// A source that changes between being listed and being read is an error that
// names the file.
func TestSourceChangesWhileRead(t *testing.T) {
	change := map[string]struct {
		do   func(p string) error
		is   error
		want string
	}{
		"grows": {func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.WriteString("x")
				f.Close()
			}
			return err
		}, nil, "it changed while it was read"},
		"shrinks": {func(p string) error {
			fi, err := os.Stat(p)
			if err == nil {
				err = os.Truncate(p, max(0, fi.Size()-1))
			}
			return err
		}, nil, "it changed while it was read"},
		"vanishes": {os.Remove, fs.ErrNotExist, "no such file"},
		"becomes a link": {func(p string) error {
			return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p))
		}, unix.ELOOP, "too many levels"},
		"becomes a pipe": {func(p string) error {
			return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o644))
		}, nil, "it changed while it was read"},
		"becomes a directory": {func(p string) error {
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o755))
		}, nil, "it changed while it was read"},
	}
	for name, tt := range change {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int64{0, 1, 4000, 4090, 4096, 10_000, stageSize - 1, stageSize, spanSize + 4096, 2*spanSize + 5} {
				if size == 0 && name != "grows" && name != "vanishes" {
					continue
				}
				dir := files{"d/other": "x"}.make(t, filepath.Join(t.TempDir(), "p"))
				p := filepath.Join(dir, "d", "file")
				if err := errors.Join(os.WriteFile(p, nil, 0o644), os.Truncate(p, size)); err != nil {
					t.Fatal(err)
				}
				segs := []*segment{{Path: Path{"p", dir}}}
				o := Options{Layout: Packed}
				if err := scanAll(t.Context(), segs, 1); err != nil {
					t.Fatal(err)
				}
				if _, err := place(segs, o); err != nil {
					t.Fatal(err)
				}
				if err := tt.do(p); err != nil {
					t.Fatal(err)
				}
				err := writeSegments(t.Context(), newImage(t), segs, o)
				if err == nil || !strings.Contains(err.Error(), p) || !strings.Contains(err.Error(), tt.want) ||
					tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("file of %d bytes %s: error is %v; want %q with its path", size, name, err, tt.want)
				}
			}
		})
	}
}

func TestBuildMissingSource(t *testing.T) {
	p := filepath.Join(t.TempDir(), "none")
	if _, err := Build(t.Context(), newImage(t), []Path{{"p", p}}, Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), p) {
		t.Errorf("Build() = %v; want that %s does not exist", err, p)
	}
	f, x := build(t, nil, Options{})
	if _, _, err := Update(t.Context(), f, x, []Path{{"p", p}}, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Update() = %v; want that %s does not exist", err, p)
	}
}

func TestBuildCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := files{"f": "x"}.make(t, t.TempDir())
	if _, err := Build(ctx, newImage(t), []Path{{"p", dir}}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Build() = %v; want %v", err, context.Canceled)
	}
}
