package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// debian is the kernel that scripts/setup unpacks.
func debian(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("../../build/kernel/boot/vmlinuz-*")
	if len(found) == 0 {
		t.Fatal("there is no kernel in build/kernel (run: scripts/setup)")
	}
	return found[0]
}

func TestDebiansKernelIsUnpackedOnce(t *testing.T) {
	dir := t.TempDir()
	file, err := Unpacked(t.Context(), dir, debian(t))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := checkPVH(f); err != nil {
		t.Errorf("checkPVH() of what was unpacked = %v", err)
	}
	before, _ := os.Stat(file)
	again, err := Unpacked(t.Context(), dir, debian(t))
	if again != file || err != nil {
		t.Errorf("Unpacked() again = %s, %v; want %s", again, err, file)
	}
	if after, _ := os.Stat(file); !os.SameFile(before, after) {
		t.Error("it was made twice")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files in the cache; want 1", len(entries))
	}
}

func TestOldKernelsGo(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "00.vmlinux")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * keepFor)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpacked(t.Context(), dir, debian(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Error("an old kernel is still there")
	}
}

// bzImage wraps a payload as the kernel's build does.
func bzImage(payload []byte) []byte {
	const sects = 1
	b := make([]byte, (sects+1)*512, (sects+1)*512+len(payload)+4)
	b[offSetupSects] = sects
	copy(b[offMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(b[offPayloadLength:], uint32(len(payload)+4))
	return append(append(b, payload...), 1, 2, 3, 4) // the size, which nobody reads
}

func TestEveryCompressionIsKnown(t *testing.T) {
	text := bytes.Repeat([]byte("kernel "), 100_000)
	var gz, lz bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(text)
	g.Close()
	l := lz4.NewWriter(&lz)
	if err := l.Apply(lz4.LegacyOption(true)); err != nil {
		t.Fatal(err)
	}
	l.Write(text)
	l.Close()
	z, _ := zstd.NewWriter(nil)
	cmd := exec.Command("xz", "--check=crc32", "--x86", "--lzma2=preset=1", "--stdout")
	cmd.Stdin = bytes.NewReader(text)
	xz, err := cmd.Output()
	if err != nil {
		t.Fatalf("xz: %v (install xz-utils)", err)
	}
	for name, p := range map[string][]byte{"gzip": gz.Bytes(), "lz4": lz.Bytes(), "zstd": z.EncodeAll(text, nil), "xz": xz} {
		image := bzImage(p)
		var got bytes.Buffer
		packed, err := payload(bytes.NewReader(image), int64(len(image)))
		if err == nil {
			err = unpack(t.Context(), &got, packed)
		}
		if err != nil || !bytes.Equal(got.Bytes(), text) {
			t.Errorf("%s: unpacked %d bytes, %v; want %d", name, got.Len(), err, len(text))
		}
	}
}

func TestWhatIsNoKernelIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	outside := bzImage([]byte("x"))
	binary.LittleEndian.PutUint32(outside[offPayloadOffset:], 1<<31)
	for name, b := range map[string][]byte{
		"empty": nil, "text": bytes.Repeat([]byte("x"), 4096), "outside": outside,
		"unknown": bzImage([]byte("unknown compression")),
	} {
		if err := os.WriteFile(image, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := Unpacked(t.Context(), filepath.Join(dir, "cache"), image); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: Unpacked() = %q, %v; want ErrUnsupported", name, f, err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "cache")); len(entries) != 0 {
		t.Errorf("left in the cache: %v", entries)
	}
	self, err := os.Open("/proc/self/exe") // an ELF file, and no kernel
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if err := checkPVH(self); !errors.Is(err, ErrUnsupported) {
		t.Errorf("checkPVH() of a program = %v; want ErrUnsupported", err)
	}
}
