package superblock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// image makes a file of some MiB and runs a mkfs on it.
func image(t *testing.T, mib int64, debianPackage, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	cmd := exec.Command(name, append(args, path)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Path = lookUp(t, name, debianPackage)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return path
}

func lookUp(t *testing.T, name, debianPackage string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/sbin", "/bin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("there is no %s (install %s)", name, debianPackage)
	return ""
}

// erofsImage makes an erofs and writes a label into its superblock, which the
// mkfs.erofs of Debian 12 cannot.
func erofsImage(t *testing.T, label string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command(lookUp(t, "mkfs.erofs", "erofs-utils"), path, dir).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.erofs: %v\n%s", err, out)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(label), 1024+64); err != nil {
		t.Fatal(err)
	}
	return path
}

func squashfsImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command(lookUp(t, "mksquashfs", "squashfs-tools"), t.TempDir(), path, "-quiet").CombinedOutput(); err != nil {
		t.Fatalf("mksquashfs: %v\n%s", err, out)
	}
	return path
}

func TestProbeKnowsRealFileSystems(t *testing.T) {
	tests := []struct {
		path string
		want Superblock
	}{
		{image(t, 8, "e2fsprogs", "mkfs.ext4", "-q", "-L", "sixteen-bytes-16"), Superblock{"ext4", "sixteen-bytes-16", 8 << 20}},
		{image(t, 8, "e2fsprogs", "mkfs.ext4", "-q"), Superblock{"ext4", "", 8 << 20}},
		{image(t, 8, "e2fsprogs", "mkfs.ext3", "-q", "-L", "three"), Superblock{"ext3", "three", 8 << 20}},
		{image(t, 8, "e2fsprogs", "mkfs.ext2", "-q", "-L", "two"), Superblock{"ext2", "two", 8 << 20}},
		{image(t, 128, "btrfs-progs", "mkfs.btrfs", "-q", "-L", "a label with spaces"), Superblock{"btrfs", "a label with spaces", 128 << 20}},
		{image(t, 320, "xfsprogs", "mkfs.xfs", "-q", "-L", "twelve-bytes"), Superblock{"xfs", "twelve-bytes", 320 << 20}},
		{image(t, 8, "dosfstools", "mkfs.vfat", "-n", "ESP"), Superblock{"vfat", "ESP", 8 << 20}},
		{image(t, 32, "dosfstools", "mkfs.vfat", "-F", "16"), Superblock{"vfat", "", 32 << 20}},
		{image(t, 64, "dosfstools", "mkfs.vfat", "-F", "32", "-n", "BIG DISK"), Superblock{"vfat", "BIG DISK", 64 << 20}},
		{erofsImage(t, "nix-store"), Superblock{Type: "erofs", Label: "nix-store"}},
		{squashfsImage(t), Superblock{Type: "squashfs"}},
	}
	for _, tt := range tests {
		f, err := os.Open(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Probe(f)
		f.Close()
		if err != nil || got != tt.want {
			t.Errorf("Probe() = %+v, %v; want %+v", got, err, tt.want)
		}
	}
}

func TestProbeFindsNothing(t *testing.T) {
	bootSector := make([]byte, 512)
	bootSector[510], bootSector[511] = 0x55, 0xaa
	for name, b := range map[string][]byte{
		"empty": nil, "one byte": {1}, "zeros": make([]byte, 1<<20), "boot sector": bootSector,
		"ones": bytes.Repeat([]byte{0xff}, 1<<20),
	} {
		if got, err := Probe(bytes.NewReader(b)); err != nil || got != (Superblock{}) {
			t.Errorf("Probe(%s) = %+v, %v; want nothing", name, got, err)
		}
	}
}

func TestProbeReportsWhatCannotBeRead(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := Probe(readerAt(func([]byte, int64) (int, error) { return 0, broken })); !errors.Is(err, broken) {
		t.Errorf("Probe() = %v; want %v", err, broken)
	}
}

type readerAt func([]byte, int64) (int, error)

func (r readerAt) ReadAt(b []byte, off int64) (int, error) { return r(b, off) }

// FuzzProbe reads the fuzzer's bytes at the head of a disk and at the place of
// btrfs's superblock: whatever a hostile disk says there, probing ends, reads
// two blocks, and returns a label that came from the disk.
func FuzzProbe(f *testing.F) {
	head := func(magicAt int, magic string) []byte {
		b := make([]byte, headSize)
		copy(b[magicAt:], magic)
		return b
	}
	f.Add(head(0, "XFSB"), []byte{})
	f.Add(head(0, "hsqs"), []byte{})
	f.Add(head(1024, string(binary.LittleEndian.AppendUint32(nil, 0xe0f5e1e2))), []byte{})
	f.Add(head(1024+0x38, "\x53\xef"), []byte{})
	f.Add(head(510, "\x55\xaa"), head(0x40, "_BHRfS_M"))
	vfat := head(82, "FAT32   ")
	copy(vfat[510:], "\x55\xaa")
	f.Add(vfat, []byte{})
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		reads := 0
		sb, err := Probe(readerAt(func(b []byte, off int64) (int, error) {
			reads++
			src := head
			if off == btrfsOffset {
				src = tail
			}
			if n := copy(b, src); n < len(b) {
				return n, io.EOF
			}
			return len(b), nil
		}))
		if err != nil || reads > 2 {
			t.Fatalf("Probe() = %v after %d reads; want none and at most 2", err, reads)
		}
		if sb.Type == "" && sb != (Superblock{}) || sb.Size < 0 || len(sb.Label) > 256 || strings.ContainsRune(sb.Label, 0) {
			t.Fatalf("Probe() = %+v", sb)
		}
		if !bytes.Contains(head, []byte(sb.Label)) && !bytes.Contains(tail, []byte(sb.Label)) {
			t.Fatalf("label %q is on neither block", sb.Label)
		}
	})
}
