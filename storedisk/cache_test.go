package storedisk_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/storedisk"
)

func TestBuildIsFoundAgain(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: filepath.Join(t.TempDir(), "new")}
	img := build(t, cache, c, storedisk.Options{})
	if img.Origin != storedisk.Built {
		t.Errorf("first Build().Origin = %q; want built", img.Origin)
	}
	out, err := exec.Command("blkid", "-p", "-o", "export", img.Path).Output()
	if err != nil {
		t.Fatalf("blkid: %v (package util-linux)", err)
	}
	for _, want := range []string{"LABEL=" + storedisk.Label, "UUID=" + img.UUID, "TYPE=erofs"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("blkid says %q; want %q in it", out, want)
		}
	}
	again := build(t, cache, c, storedisk.Options{})
	if again.Origin != storedisk.Found || again.Path != img.Path {
		t.Errorf("second Build() = %s %s; want found %s", again.Origin, again.Path, img.Path)
	}
	other := build(t, cache, c, storedisk.Options{Type: storedisk.Squashfs})
	if other.Path == img.Path || other.Origin != storedisk.Built {
		t.Errorf("Build() of another type = %s %s; want another image", other.Origin, other.Path)
	}
}

func TestBuildNoticesChangedSources(t *testing.T) {
	for _, typ := range storedisk.Types {
		t.Run(string(typ), func(t *testing.T) {
			store := t.TempDir()
			c := plant(t, store, aFewPaths(), false)
			// A path that somebody works on: it can be written to.
			file := filepath.Join(store, storeName("hello"), "share/doc/README")
			if err := os.Chmod(filepath.Join(store, storeName("hello")), 0o755); err != nil {
				t.Fatal(err)
			}
			cache := &storedisk.Cache{Dir: t.TempDir()}
			o := storedisk.Options{Type: typ, For: "me"}
			before := build(t, cache, c, o)
			if again := build(t, cache, c, o); again.Origin != storedisk.Found {
				t.Errorf("Build() of unchanged sources = %s; want found", again.Origin)
			}
			if err := os.WriteFile(file, []byte("changed"), 0); err != nil {
				t.Fatal(err)
			}
			after := build(t, cache, c, o)
			if after.Origin != storedisk.Built || after.Path != before.Path {
				t.Errorf("Build() of changed sources = %s %s; want built %s", after.Origin, after.Path, before.Path)
			}
			compare(t, mountImage(t, after), store)
		})
	}
}

func TestBuildTrustsOnlyWhatWasFinished(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	damage := map[string]func(image string) error{
		"no record":     func(image string) error { return os.Remove(image + ".json") },
		"torn record":   func(image string) error { return os.Truncate(image+".json", 20) },
		"cut short":     func(image string) error { return os.Truncate(image, 4096) },
		"written to":    func(image string) error { return appendTo(image, "x") },
		"other version": func(image string) error { return edit(image+".json", `"version":1`, `"version":99`) },
		"other boot":    func(image string) error { return edit(image+".json", `"boot":"`, `"boot":"z`) },
	}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			cache := &storedisk.Cache{Dir: t.TempDir()}
			img := build(t, cache, c, storedisk.Options{Type: storedisk.Squashfs})
			want := read(t, img.Path)
			if err := harm(img.Path); err != nil {
				t.Fatal(err)
			}
			again := build(t, cache, c, storedisk.Options{Type: storedisk.Squashfs})
			if again.Origin != storedisk.Built || !bytes.Equal(want, read(t, again.Path)) {
				t.Errorf("Build() after %q = %s; want the same image, built again", name, again.Origin)
			}
		})
	}
}

func TestSettledImagesOutliveABoot(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	img := build(t, cache, c, storedisk.Options{})
	if err := cache.Settle(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if err := edit(img.Path+".json", `"boot":"`, `"boot":"z`); err != nil {
		t.Fatal(err)
	}
	if again := build(t, cache, c, storedisk.Options{}); again.Origin != storedisk.Found {
		t.Errorf("Build() of a settled image after a boot = %s; want found", again.Origin)
	}
}

func TestBuildWithoutWriteAccess(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	dir := t.TempDir()
	build(t, &storedisk.Cache{Dir: dir}, c, storedisk.Options{})
	mount(t, "--bind", dir, dir)
	mount(t, "-o", "remount,ro,bind", dir)

	cache := &storedisk.Cache{Dir: dir}
	if img := build(t, cache, c, storedisk.Options{For: "me"}); img.Origin != storedisk.Found {
		t.Errorf("Build() from a read-only cache = %s; want found", img.Origin)
	}
	_, err := cache.Build(t.Context(), c, storedisk.Options{Type: storedisk.Ext4})
	if !isHostError(err) || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("Build() into a read-only cache = %v; want a HostError that says so", err)
	}
}

func TestBuildRefusesAnOpenCache(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := (&storedisk.Cache{Dir: dir}).Build(t.Context(), c, storedisk.Options{})
	if !isHostError(err) || !strings.Contains(err.Error(), "lets everybody write") {
		t.Errorf("Build() in a directory of mode 777 = %v; want a HostError", err)
	}
}

func TestMissingToolsAreNamed(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir(), Tool: func(string) (string, error) { return "", exec.ErrNotFound }}
	for want, o := range map[string]storedisk.Options{
		"erofs-utils":        {Compression: "lz4"},
		"squashfs-tools-ng":  {Type: storedisk.Squashfs},
		"e2fsprogs":          {Type: storedisk.Ext4},
		"squashfs-tools-ng)": {Type: storedisk.Squashfs, SquashfsFlags: []string{"-c", "xz"}},
	} {
		_, err := cache.Build(t.Context(), c, o)
		he := (*storedisk.HostError)(nil)
		if !errors.As(err, &he) || !strings.Contains(he.Hint, want) {
			t.Errorf("Build(%+v) = %v, hint %+v; want one for %s", o, err, he, want)
		}
		left, _ := filepath.Glob(cache.Dir + "/.*")
		if len(left) > 0 {
			t.Errorf("Build(%+v) left %q", o, left)
		}
	}
}

// build builds and closes the image when the test ends.
func build(t testing.TB, cache *storedisk.Cache, c *storedisk.Closure, o storedisk.Options) *storedisk.Image {
	t.Helper()
	img, err := cache.Build(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func isHostError(err error) bool {
	he := (*storedisk.HostError)(nil)
	return errors.As(err, &he) && he.Hint != ""
}

// edit replaces a part of a small file, and keeps its times as Build left them.
func edit(path, from, to string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(from)) {
		return &fs.PathError{Op: "edit", Path: path, Err: errors.New("no " + from)}
	}
	return os.WriteFile(path, bytes.Replace(b, []byte(from), []byte(to), 1), 0)
}

func appendTo(path, s string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProgressComesToAnEnd(t *testing.T) {
	c := plant(t, t.TempDir(), largePaths(), false)
	for _, typ := range []storedisk.Type{storedisk.Erofs, storedisk.Btrfs} {
		var last storedisk.Progress
		var calls int
		cache := &storedisk.Cache{Dir: t.TempDir(), Progress: func(p storedisk.Progress) {
			if p.Done < last.Done {
				t.Errorf("%s: progress went from %d back to %d bytes", typ, last.Done, p.Done)
			}
			last = p
			calls++
		}}
		build(t, cache, c, storedisk.Options{Type: typ})
		if calls < 2 || last.Stage != "writing" || last.Done != last.Total || last.Total < 22<<20 || last.Paths != 1 {
			t.Errorf("%s: after %d calls, the last progress is %+v; want all of 22 MiB written", typ, calls, last)
		}
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	c := plant(t, t.TempDir(), largePaths(), false)
	for name, o := range variants {
		stop := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cache := &storedisk.Cache{Dir: t.TempDir(), Log: slog.New(cancelling{func() { cancel(stop) }})}
		if _, err := cache.Build(ctx, c, o); !errors.Is(err, stop) {
			t.Errorf("%s: Build() = %v; want its context's cause", name, err)
		}
		if left := entries(t, cache.Dir); len(left) > 0 {
			t.Errorf("%s: Build() left %q", name, left)
		}
	}
}

// cancelling is a log that ends what it is told of.
type cancelling struct{ cancel func() }

func (c cancelling) Enabled(context.Context, slog.Level) bool  { return true }
func (c cancelling) Handle(context.Context, slog.Record) error { c.cancel(); return nil }
func (c cancelling) WithAttrs([]slog.Attr) slog.Handler        { return c }
func (c cancelling) WithGroup(string) slog.Handler             { return c }
