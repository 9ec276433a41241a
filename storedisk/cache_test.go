package storedisk_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/storedisk"
)

func TestBuildIsFoundAgain(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir() + "/new"}
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
