package initrd

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/kmod"
)

// maxInit is the budget of the binary that every guest loads.
const maxInit = 3 << 20

func TestInitIsSmallAndStatic(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		checkInit(t, arch, machine)
	}
}

func checkInit(t *testing.T, arch string, machine elf.Machine) {
	t.Helper()
	b, err := Init(arch)
	if err != nil {
		t.Fatalf("%v (or go generate ./vm/initrd)", err)
	}
	if len(b) > maxInit {
		t.Errorf("mvm-init has %d bytes; want at most %d", len(b), maxInit)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != machine {
		t.Errorf("mvm-init for %s is for %v", arch, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("mvm-init has a %v segment; want a static program", p.Type)
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Error("mvm-init has symbols; want it stripped")
	}
}

func spec(t *testing.T) Spec {
	t.Helper()
	dir := t.TempDir()
	var modules []kmod.Module
	for _, name := range []string{"virtio_blk", "erofs"} {
		path := filepath.Join(dir, name+".ko")
		if err := os.WriteFile(path, []byte("\x7fELF "+name), 0o644); err != nil {
			t.Fatal(err)
		}
		modules = append(modules, kmod.Module{Name: name, Path: path})
	}
	return Spec{
		Boot: handoff.Boot{
			Hostname: "web", Init: []string{"/init"},
			Plan: mounts.Plan{Mounts: []mounts.Mount{{Where: "/", Type: "tmpfs", What: "rootfs"}}},
		},
		Modules:      modules,
		Registration: []byte("reg"),
	}
}

func TestBuildHoldsWhatTheGuestNeeds(t *testing.T) {
	var b bytes.Buffer
	if err := build(t.Context(), &b, spec(t), []byte("program")); err != nil {
		t.Fatal(err)
	}
	// As an independent reader sees it.
	cmd := exec.Command("cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet")
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(b.Bytes())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v (install cpio)", err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		got = append(got, f[0]+" "+f[2]+":"+f[3]+" "+f[len(f)-1])
	}
	want := []string{
		"drwxr-xr-x 0:0 dev",
		"crw------- 0:0 dev/console",
		"-rwxr-xr-x 0:0 init",
		"drwxr-xr-x 0:0 mnt-root",
		"drwxr-xr-x 0:0 mvm",
		"-rw-r--r-- 0:0 mvm/boot.json",
		"drwxr-xr-x 0:0 mvm/modules",
		"-rw-r--r-- 0:0 mvm/modules/erofs.ko",
		"-rw-r--r-- 0:0 mvm/modules/virtio_blk.ko",
		"-rw-r--r-- 0:0 mvm/registration",
		"dr-xr-xr-x 0:0 proc",
		"drwxr-xr-x 0:0 run",
		"dr-xr-xr-x 0:0 sys",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the archive's list (-want +got):\n%s", diff)
	}

	dir := t.TempDir()
	cmd = exec.Command("cpio", "--extract", "--quiet", "--make-directories", "mvm/*")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(b.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	orders, err := os.ReadFile(filepath.Join(dir, "mvm/boot.json"))
	if err != nil {
		t.Fatal(err)
	}
	var boot handoff.Boot
	if err := json.Unmarshal(orders, &boot); err != nil {
		t.Fatal(err)
	}
	wantBoot := spec(t).Boot
	wantBoot.Version, wantBoot.Plan.Version = handoff.Version, mounts.Version
	wantBoot.Modules = []string{"virtio_blk.ko", "erofs.ko"}
	wantBoot.Registration = "/mvm/registration"
	if diff := cmp.Diff(wantBoot, boot); diff != "" {
		t.Errorf("the orders (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "mvm/modules/erofs.ko")); err != nil || string(b) != "\x7fELF erofs" {
		t.Errorf("module = %q, %v", b, err)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := build(t.Context(), w, spec(t), []byte("program")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two initrds of the same things differ")
	}
}

func TestBuildRefusesOrdersThatCannotBeCarriedOut(t *testing.T) {
	s := spec(t)
	s.Boot.Init = nil
	if err := build(t.Context(), &bytes.Buffer{}, s, nil); err == nil {
		t.Error("build() without an init = nil; want an error")
	}
}

func TestArchiveRefuses(t *testing.T) {
	for _, files := range [][]File{
		{{Path: "relative"}},
		{{Path: "/"}},
		{{Path: "/a/../b"}},
		{{Path: "/a"}, {Path: "/a"}},
	} {
		if err := Archive(&bytes.Buffer{}, files); err == nil {
			t.Errorf("Archive(%v) = nil; want an error", files)
		}
	}
}

func TestArchiveReportsAFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = Archive(f, []File{{Path: "/a", Mode: Regular, Data: make([]byte, 1<<20)}})
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Archive() to a full disk = %v; want no space left", err)
	}
}

// TestCloneBuildsWithoutInit builds this package as a clean clone has it.
func TestCloneBuildsWithoutInit(t *testing.T) {
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	program, err := filepath.Abs("bin/mvm-init-" + runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: ""}}`, program), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-overlay", overlay, "-run", "TestWithoutInit", "-v", ".")
	cmd.Env = append(os.Environ(), "MVM_TEST_WITHOUT_INIT=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS: TestWithoutInit")) {
		t.Errorf("go test without mvm-init: %v\n%s", err, out)
	}
}

// TestWithoutInit is run once more by TestCloneBuildsWithoutInit, and asserts
// something only there.
func TestWithoutInit(t *testing.T) {
	if os.Getenv("MVM_TEST_WITHOUT_INIT") == "" {
		return
	}
	if err := Build(t.Context(), &bytes.Buffer{}, spec(t)); !errors.Is(err, ErrNoInit) {
		t.Errorf("Build() = %v; want %v", err, ErrNoInit)
	}
}
