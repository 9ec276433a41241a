package storedisk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/storedisk"
)

// nobody is a user who owns nothing but what a test gives him.
const nobody = 65534

func TestBuildNeedsNoPrivileges(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			store, dir := t.TempDir(), t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			c := plant(t, store, pathsFor(o), false)
			if err := os.Chown(dir, nobody, nobody); err != nil {
				t.Fatalf("%v (run this test as root)", err)
			}
			cmd, out := builder{dir, c, o}.startAs(t, nobody)
			if said := rest(t, cmd, out); !strings.Contains(said, "done built") {
				t.Fatalf("a builder without privileges said %q; want that it built", said)
			}
			img := build(t, &storedisk.Cache{Dir: dir}, c, o)
			root := build(t, &storedisk.Cache{Dir: t.TempDir()}, c, o)
			if img.Origin != storedisk.Found || content(t, img) != content(t, root) {
				t.Error("an image built without privileges is not that of root")
			}
		})
	}
}

func TestCompressedErofsWithoutMounts(t *testing.T) {
	o := storedisk.Options{Compression: "lz4"}
	store := t.TempDir()
	c := plant(t, store, pathsFor(o), false)
	cache := &storedisk.Cache{Dir: t.TempDir(), Tool: func(name string) (string, error) {
		if name == "sh" {
			return "", exec.ErrNotFound
		}
		return exec.LookPath(name)
	}}
	img := build(t, cache, c, o)
	compare(t, mountImage(t, img), store)
	if mounted := build(t, &storedisk.Cache{Dir: t.TempDir()}, c, o); content(t, img) != content(t, mounted) {
		t.Error("the image made from copies is not the one made from bind mounts")
	}
	for _, name := range entries(t, cache.Dir) {
		if strings.HasPrefix(name, ".") {
			t.Errorf("Build() left %s", name)
		}
	}
}
