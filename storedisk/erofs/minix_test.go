package erofs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// blkid must see an erofs file system and its label whatever the number of
// inodes, which lies where minix has its magic number.
func TestInodeCountIsNotTakenForMinix(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	const magic = 0x137f
	// The root, src, and as many files as make the number of inodes the magic.
	for i := range magic - 2 {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), nil, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := Options{Label: "nix-store", Layout: Packed}
	if _, err := Build(t.Context(), f, []Path{{Name: "src", Source: src}}, o); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := f.ReadAt(b, superOffset+sbInodes); err != nil {
		t.Fatal(err)
	}
	if n := le.Uint16(b); n != magic+1 {
		t.Fatalf("the image states %#x inodes; this test wants the one after %#x", n, magic)
	}
	out, err := exec.Command("blkid", "-p", "-o", "export", f.Name()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "TYPE=erofs\n") || !strings.Contains(string(out), "LABEL=nix-store\n") {
		t.Errorf("blkid: %v\n%s", err, out)
	}
}
