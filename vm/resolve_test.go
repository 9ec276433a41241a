package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// system lays out a store with a NixOS-like system and returns the store's
// directory and the system's name in it.
func system(t *testing.T) (store, name string) {
	t.Helper()
	store = filepath.Join(t.TempDir(), "nix", "store")
	name = "00000000000000000000000000000000-system"
	file := func(path, text string) {
		t.Helper()
		path = filepath.Join(store, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file("11111111111111111111111111111111-linux/bzImage", "kernel")
	file("22222222222222222222222222222222-modules/lib/modules/6.1/modules.dep", "")
	file(name+"/kernel-params", "loglevel=4  quiet\n")
	file(name+"/init", "#!")
	for link, target := range map[string]string{
		"kernel":         "/nix/store/11111111111111111111111111111111-linux/bzImage",
		"kernel-modules": "/nix/store/22222222222222222222222222222222-modules",
	} {
		if err := os.Symlink(target, filepath.Join(store, name, link)); err != nil {
			t.Fatal(err)
		}
	}
	return store, name
}

func TestResolveFollowsASystemInAForeignStore(t *testing.T) {
	store, name := system(t)
	link := filepath.Join(t.TempDir(), "result") // as nix-build leaves it
	if err := os.Symlink("/nix/store/"+name, link); err != nil {
		t.Fatal(err)
	}
	for _, toplevel := range []string{filepath.Join(store, name), "/nix/store/" + name, link} {
		got, err := (&Config{Toplevel: toplevel, StoreDir: store}).Resolve()
		if err != nil {
			t.Errorf("Resolve() of %s: %v", toplevel, err)
			continue
		}
		want := Image{
			Kernel:  filepath.Join(store, "11111111111111111111111111111111-linux/bzImage"),
			Params:  []string{"loglevel=4", "quiet"},
			Modules: filepath.Join(store, "22222222222222222222222222222222-modules/lib/modules/6.1"),
			Init:    []string{"/nix/store/" + name + "/init"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Resolve() of %s (-want +got):\n%s", toplevel, diff)
		}
	}
}

func TestResolveReportsAllThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := (&Config{Kernel: filepath.Join(dir, "no-kernel"), Modules: filepath.Join(dir, "no-modules")}).Resolve()
	if err == nil {
		t.Fatal("Resolve() = nil; want errors")
	}
	for _, want := range []string{"no-kernel: no such file", "no-modules: no such file", "neither toplevel nor init"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve() = %v; want it to say %q", err, want)
		}
	}
	if he := (*HostError)(nil); !errors.As(err, &he) || he.Hint == "" {
		t.Errorf("Resolve() = %v; want a HostError with a hint", err)
	}
}

func TestToplevelOutsideTheStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := (&Config{Toplevel: dir}).Resolve()
	if err == nil || !strings.Contains(err.Error(), "not a path of the store /nix/store") {
		t.Errorf("Resolve() = %v; want it to refuse %s", err, dir)
	}
	_, err = (&Config{Toplevel: filepath.Join(dir, "gone")}).Resolve()
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Resolve() of a missing toplevel = %v", err)
	}
}

func TestTheKernelDecidesTheArchitecture(t *testing.T) {
	pkg := t.TempDir()
	arm := append(make([]byte, 0x38), "ARM\x64"...)
	if err := os.WriteFile(filepath.Join(pkg, "Image"), arm, 0o644); err != nil {
		t.Fatal(err)
	}
	c := &Config{Kernel: pkg, Init: Command{"/init"}}
	img, err := c.Resolve()
	if err != nil || img.Arch != "arm64" || img.Kernel != filepath.Join(pkg, "Image") {
		t.Errorf("Resolve() = %s for %q, %v; want Image for arm64", img.Kernel, img.Arch, err)
	}
	for machine, want := range map[string]string{
		"virt": "", "virt-7.2": "",
		"microvm": "it is for arm64, and the machine microvm is for amd64", "pc-q35-7.2": "it is for arm64, and the machine pc-q35-7.2 is for amd64",
	} {
		c.QEMU.Machine = machine
		_, err := c.Resolve()
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("Resolve() for the machine %s = %v; want %q", machine, err, want)
		}
	}
}

func TestNewestKernelWins(t *testing.T) {
	dir := t.TempDir()
	if _, err := newestKernel(dir); err == nil {
		t.Error("newestKernel() of an empty directory = nil")
	}
	for _, name := range []string{"vmlinuz-6.1", "vmlinuz-6.12"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("k"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, "vmlinuz-6.1")
	fi, err := os.Stat(old)
	if err != nil {
		t.Fatal(err)
	}
	later := fi.ModTime().Add(1e9)
	if err := os.Chtimes(old, later, later); err != nil {
		t.Fatal(err)
	}
	if got, err := newestKernel(dir); got != old || err != nil {
		t.Errorf("newestKernel() = %s, %v; want the one that was installed last", got, err)
	}
}
