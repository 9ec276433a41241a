package kernel

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// at is an image with text at an offset.
func at(offset int, text string) []byte {
	return append(bytes.Repeat([]byte{0}, offset), text...)
}

func TestArch(t *testing.T) {
	image := at(0x38, "ARM\x64")
	zboot := append([]byte("MZ\x00\x00zimg"), at(0x34, "\x40\x00\x00\x00PE\x00\x00\x64\xaa")...)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(image)
	z.Close()
	tests := []struct {
		name, want string
		image      []byte
	}{
		{"bzImage", "amd64", bzImage([]byte("x"))},
		{"Image", "arm64", image},
		{"Image.gz", "arm64", packed.Bytes()},
		{"Image that unpacks itself", "arm64", zboot},
		{"vmlinux of x86-64", "amd64", []byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\x3e\x00")},
		{"vmlinux of aarch64", "arm64", []byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xb7\x00")},
		{"vmlinux of riscv", "", []byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xf3\x00")},
		{"a header that leads outside", "", append([]byte("MZ"), at(0x3a, "\xff\xff\xff\xff")...)},
		{"gzip of nothing", "", []byte("\x1f\x8b")},
		{"short", "", []byte("MZ")},
		{"empty", "", nil},
		{"text", "", bytes.Repeat([]byte("text "), 1000)},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, tt.image, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Arch(path); got != tt.want || err != nil {
			t.Errorf("Arch(%s) = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	if got, err := Arch(debian(t)); got != "amd64" || err != nil {
		t.Errorf("Arch(Debian's kernel) = %q, %v; want amd64", got, err)
	}
}
