package storedisk_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/storedisk"
)

// nixEnv lets root use Nix without a daemon.
func nixEnv(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("nix-store"); err != nil {
		t.Fatal("no nix-store (package nix-bin)")
	}
	t.Setenv("NIX_CONFIG", "build-users-group =\nsandbox = false")
}

// addToNix puts two paths in a store, of which the second refers to the first,
// and returns them.
func addToNix(t testing.TB, args ...string) (lib, app string) {
	t.Helper()
	dir := t.TempDir()
	run := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("nix-store", append(args, "--add", file)...).Output()
		if err != nil {
			t.Fatalf("nix-store --add: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
	// Only what was built, or is to be, has references.
	lib = run("mvm-test-lib", "a library of "+t.Name()+"\n")
	expr := filepath.Join(dir, "app.nix")
	nix := `derivation {
		name = "mvm-test-app"; system = builtins.currentSystem; lib = builtins.storePath ` + lib + `;
		builder = "/bin/sh"; args = [ "-c" "echo $lib > $out" ];
	}`
	if err := os.WriteFile(expr, []byte(nix), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := []string{"nix-build", "--no-out-link"}
	if len(args) > 0 {
		// Building in a store elsewhere takes more than a test may ask for, and
		// the derivation is a store path too.
		cmd = append([]string{"nix-instantiate"}, args...)
	}
	out, err := exec.Command(cmd[0], append(cmd[1:], expr)...).Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd[0], err)
	}
	return lib, strings.TrimSpace(string(out))
}

func TestClosureFromNix(t *testing.T) {
	nixEnv(t)
	lib, app := addToNix(t)
	nix := storedisk.Nix{}
	c, err := nix.Closure(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Base(app), filepath.Base(lib)}
	slices.Sort(want)
	if diff := cmp.Diff(want, c.Names); diff != "" {
		t.Errorf("Nix.Closure().Names (-want +got):\n%s", diff)
	}

	cache := &storedisk.Cache{Dir: t.TempDir()}
	img := build(t, cache, c, storedisk.Options{Registration: true})
	compareOnly(t, img, c)
	// What is written is what Nix takes back: in a store of its own.
	root := t.TempDir()
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+w", root).Run() })
	if out, err := exec.Command("sh", "-c", "mkdir -p "+root+"/nix/store && cp -a "+lib+" "+app+" "+root+"/nix/store").CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	load := exec.Command("nix-store", "--store", root, "--load-db")
	load.Stdin = bytes.NewReader(read(t, img.Registration))
	if out, err := load.CombinedOutput(); err != nil {
		t.Errorf("nix-store --load-db: %v\n%s", err, out)
	}
	if got := string(read(t, img.Registration)); !strings.Contains(got, lib+"\n") || !strings.Contains(got, "\n1\n"+lib+"\n") {
		t.Errorf("the registration does not say that %s refers to %s:\n%s", app, lib, got)
	}
}

func TestClosureIsRemembered(t *testing.T) {
	nixEnv(t)
	_, app := addToNix(t)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	want, err := cache.Closure(t.Context(), storedisk.Nix{}, app)
	if err != nil {
		t.Fatal(err)
	}
	// A Nix that cannot be asked shows that it was not.
	got, err := cache.Closure(t.Context(), storedisk.Nix{Bin: "/nonexistent/nix-store"}, app)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Names, got.Names); diff != "" {
		t.Errorf("the remembered closure differs (-want +got):\n%s", diff)
	}
	if _, err := (&storedisk.Cache{Dir: t.TempDir()}).Closure(t.Context(), storedisk.Nix{Bin: "/nonexistent/nix-store"}, app); !isHostError(err) || !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("Closure() without Nix = %v; want a HostError", err)
	}
}

func TestClosureFromAForeignStore(t *testing.T) {
	nixEnv(t)
	root := t.TempDir()
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+w", root).Run() })
	lib, app := addToNix(t, "--store", root)
	nix := storedisk.Nix{StoreDir: root + "/nix/store"}
	c, err := nix.Closure(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if c.StoreDir != root+"/nix/store" || len(c.Names) != 2 {
		t.Errorf("Nix.Closure() = %+v; want %s and %s in %s", c, app, lib, nix.StoreDir)
	}
	compareOnly(t, build(t, &storedisk.Cache{Dir: t.TempDir()}, c, storedisk.Options{}), c)

	nix.StoreDir = t.TempDir()
	if _, err := nix.Closure(t.Context(), app); err == nil {
		t.Error("Nix.Closure() in a directory that is no store succeeded")
	}
}

func TestRootsKeepPathsFromNix(t *testing.T) {
	nixEnv(t)
	lib, app := addToNix(t)
	dir := filepath.Join(t.TempDir(), "roots")
	nix := storedisk.Nix{}
	for range 2 {
		if err := nix.AddRoots(t.Context(), dir, app); err != nil {
			t.Fatal(err)
		}
	}
	rooted := func(path string) bool {
		out, err := exec.Command("nix-store", "--query", "--roots", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), dir)
	}
	if !rooted(app) || !rooted(lib) {
		t.Error("AddRoots() did not make roots that Nix knows of")
	}
	if err := nix.AddRoots(t.Context(), dir, lib); err != nil {
		t.Fatal(err)
	}
	if rooted(app) || !rooted(lib) {
		t.Error("AddRoots() of another path did not replace the roots")
	}
	if err := storedisk.RemoveRoots(dir); err != nil {
		t.Fatal(err)
	}
	if rooted(lib) {
		t.Error("RemoveRoots() left a root")
	}
	if err := storedisk.RemoveRoots(dir); err != nil {
		t.Errorf("RemoveRoots() of nothing = %v; want no error", err)
	}
}
