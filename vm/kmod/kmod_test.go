package kmod

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/mvmrun/mvm/mounts"
)

const testTree = "testdata/6.1-test"

func TestResolve(t *testing.T) {
	tree, err := Open(testTree)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, wants, loads string }{
		{"nothing", "", ""},
		{"dependencies come first", "virtio_mmio", "virtio_ring virtio virtio_mmio"},
		{"each once", "virtio_mmio virtio_rng virtio", "virtio_ring virtio virtio_mmio virtio_rng"},
		{"dash for underscore", "virtio-mmio", "virtio_ring virtio virtio_mmio"},
		{"file with a dash", "virtio_rng", "virtio_ring virtio virtio_rng"},
		{"file system, its hash built in", "fs-erofs", "libcrc32c erofs"},
		{"hash that is faster as a module", "fs-xfs", "crc32c_intel libcrc32c xfs"},
		{"soft dependencies", "fs-btrfs", "crc32c_intel blake2b_generic libcrc32c raid6_pq xor btrfs"},
		{"hidden need", "fs-9p", "virtio_ring virtio 9pnet 9pnet_virtio 9p"},
		{"alias with a wildcard", "virtio:d00000004v00001AF4", "virtio_ring virtio virtio_rng"},
		{"alias with a range", "pci:v00001AF4d00001004sv1sd2bc3sc4i5", "virtio_ring virtio virtio_mmio"},
		{"built in", "virtio_blk crc32c_generic", ""},
		{"built in by its alias, and faster", "fs-ext4", "crc32c_intel"},
		{"circle", "a", "b a"},
		{"optional", "nonesuch? virtio_blk?", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var wants []Want
			for name := range strings.FieldsSeq(tt.wants) {
				name, optional := strings.CutSuffix(name, "?")
				wants = append(wants, Want{Name: name, Optional: optional})
			}
			list, err := tree.Resolve(wants)
			if got := Names(list); err != nil || got != tt.loads {
				t.Errorf("Resolve(%s) = %q, %v; want %q", tt.wants, got, err, tt.loads)
			}
		})
	}
}

func TestResolveNamesAllThatIsMissing(t *testing.T) {
	tree, err := Open(testTree)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tree.Resolve(append(
		ForPlan(mounts.Plan{Mounts: []mounts.Mount{
			{Where: "/", Type: "tmpfs"},
			{Where: "/data", Type: "zonefs"},
			{Where: "/bound", Options: []string{"bind"}},
		}}), Want{Name: "virtio_console", For: "mvm's agent"}))
	want := "kernel 6.1-test has no zonefs file system, neither as a file nor built in: the mount on /data needs it\n" +
		"kernel 6.1-test has no module virtio_console, neither as a file nor built in: mvm's agent needs it"
	if err == nil || err.Error() != want || !errors.Is(err, ErrNoModule) {
		t.Errorf("Resolve() = %v; want %v", err, want)
	}
}

func TestOpenFindsTheOnlyVersion(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"6.1-one", "6.1-two"} {
		if err := os.CopyFS(filepath.Join(dir, "lib/modules", v), os.DirFS(testTree)); err != nil {
			t.Fatal(err)
		}
		tree, err := Open(dir)
		switch he := (*HostError)(nil); {
		case v == "6.1-one" && (err != nil || tree.Release() != v):
			t.Errorf("Open() = %v; want %s", err, v)
		case v == "6.1-two" && (!errors.As(err, &he) || he.Hint == ""):
			t.Errorf("Open() with two versions = %v; want an error with a hint", err)
		}
	}
}

func TestOpenWithoutIndexSaysHowToMakeOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib/modules/6.1-bare")
	if err := os.MkdirAll(filepath.Join(dir, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	he := (*HostError)(nil)
	if !errors.As(err, &he) || !strings.HasPrefix(he.Hint, "run depmod -b ") || !strings.HasSuffix(he.Hint, "/ 6.1-bare to index the modules") {
		t.Errorf("Open() = %v, hint %+v; want a hint to run depmod", err, he)
	}
	if _, err := Open(filepath.Join(dir, "gone")); !errors.As(err, &he) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open(gone) = %v; want not exist", err)
	}
}

func TestReadUnpacks(t *testing.T) {
	elf := append([]byte("\x7fELF"), bytes.Repeat([]byte("module"), 1000)...)
	dir := t.TempDir()
	write := func(name string, b []byte) Module {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return Module{Name: name, Path: path}
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(elf)
	w.Close()
	xz := exec.Command("xz", "--check=crc32", "--stdout")
	xz.Stdin = bytes.NewReader(elf)
	xzed, err := xz.Output()
	if err != nil {
		t.Fatalf("%v (install xz-utils)", err)
	}
	for _, m := range []Module{
		write("a.ko", elf), write("b.ko.gz", gz.Bytes()), write("c.ko.zst", z.EncodeAll(elf, nil)), write("d.ko.xz", xzed),
	} {
		if got, err := m.Read(t.Context()); err != nil || !bytes.Equal(got, elf) {
			t.Errorf("Read(%s) = %d bytes, %v; want %d bytes", m.Name, len(got), err, len(elf))
		}
	}
	for _, m := range []Module{
		write("e.ko", []byte("text")), write("f.ko.gz", []byte("text")), write("g.ko.zst", []byte("text")), write("h.ko.xz", []byte("text")),
		{Name: "gone", Path: filepath.Join(dir, "gone.ko")},
	} {
		if _, err := m.Read(t.Context()); err == nil || !strings.Contains(err.Error(), m.Path) {
			t.Errorf("Read(%s) = %v; want an error that names the file", m.Name, err)
		}
	}
}

func TestUnsigned(t *testing.T) {
	signed := "body" + "signature" + "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x09" + signatureMark
	tests := []struct{ name, in, want string }{
		{"signed", signed, "body"},
		{"not signed", "body", "body"},
		{"empty", "", ""},
		{"mark alone", signatureMark, signatureMark},
		{"length that lies", "\x00\x00\x02\x00\x00\x00\x00\x00\xff\xff\xff\xff" + signatureMark, "\x00\x00\x02\x00\x00\x00\x00\x00\xff\xff\xff\xff" + signatureMark},
	}
	for _, tt := range tests {
		if got := string(Unsigned([]byte(tt.in))); got != tt.want {
			t.Errorf("%s: Unsigned(%q) = %q; want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

// TestDebianKernel holds the answers for the kernel that the tests boot.
func TestDebianKernel(t *testing.T) {
	tree, err := Open("../../build/kernel")
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	tests := []struct{ fs, want string }{
		{"erofs", "libcrc32c erofs"},
		{"squashfs", "squashfs"},
		{"ext4", "crc32c_intel"},
		{"btrfs", "crc32c_intel xxhash_generic sha256_ssse3 blake2b_generic libcrc32c zstd_compress raid6_pq xor btrfs"},
		{"xfs", "crc32c_intel libcrc32c xfs"},
		{"vfat", "nls_cp437 nls_iso8859_1 nls_ascii nls_utf8 fat vfat"},
		{"virtiofs", "fuse virtio_ring virtio virtiofs"},
		{"overlay", "overlay"},
	}
	for _, tt := range tests {
		list, err := tree.Resolve(ForPlan(mounts.Plan{Mounts: []mounts.Mount{{Where: "/x", Type: tt.fs}}}))
		if got := Names(list); err != nil || got != tt.want {
			t.Errorf("%s: Resolve() = %q, %v; want %q", tt.fs, got, err, tt.want)
		}
	}
	list, err := tree.Resolve(ForMachine(Machine{Disks: true, RNG: true, Balloon: true}))
	if want := "virtio_ring virtio virtio_mmio virtio_console virtio_blk virtio_rng virtio_balloon pvpanic pvpanic_mmio button"; err != nil || Names(list) != want {
		t.Errorf("ForMachine: Resolve() = %q, %v; want %q", Names(list), err, want)
	}
	for _, m := range list {
		if _, err := m.Read(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func FuzzTree(f *testing.F) {
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin.modinfo"} {
		b, err := os.ReadFile(filepath.Join(testTree, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree := &Tree{modules: map[string]entry{}, soft: map[string][]string{}, exact: map[string][]string{}, builtin: map[string]bool{}}
		if tree.parseDep(b) != nil {
			tree.modules = map[string]entry{"a": {path: "a.ko"}, "b": {path: "b.ko", deps: []string{"a"}}}
		}
		_ = tree.parseAlias(b)
		_ = tree.parseSoftdep(b)
		_ = tree.parseModinfo(b)
		for name := range tree.modules {
			_, _ = tree.Resolve([]Want{{Name: name}, {Name: "fs-" + name}})
		}
	})
}
