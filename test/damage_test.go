package test_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/test"
)

// TestDamagedStoreDisk: a disk that was changed behind the cache's back, down to
// its time stamp, is one clear error.
func TestDamagedStoreDisk(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, image *os.File)
		code   int
		want   []string
	}{
		{"superblock", func(t *testing.T, image *os.File) {
			writeAt(t, image, bytes.Repeat([]byte{0xff}, 128), 1024)
		}, 120, []string{
			`error: guest: mount erofs on /nix/store: .*`,
			"hint: the store disk may be damaged: .*",
		}},
		{"root directory", func(t *testing.T, image *os.File) {
			// The superblock is whole: root_nid is at byte 14, meta_blkaddr at 40.
			var super [128]byte
			if _, err := image.ReadAt(super[:], 1024); err != nil {
				t.Fatal(err)
			}
			nid := int64(binary.LittleEndian.Uint16(super[14:]))
			meta := int64(binary.LittleEndian.Uint32(super[40:]))
			writeAt(t, image, bytes.Repeat([]byte{0xff}, 64), meta<<super[12]+nid*32)
		}, 120, []string{
			`error: guest: mount erofs on /nix/store: .*`,
			"hint: the store disk may be damaged: .*",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t)
			definition := define(t, h, "damaged", "")
			makeStoreDisk(t, h, definition)
			damage(t, h, tt.damage)
			checkEnd(t, h.Start(definition).Wait(), tt.code, tt.want...)
		})
	}
}

// TestChangedStoreDiskIsMadeAnew: a disk that does not look as it was left is not
// booted from.
func TestChangedStoreDiskIsMadeAnew(t *testing.T) {
	h := host(t)
	definition := define(t, h, "changed", "")
	makeStoreDisk(t, h, definition)
	image := onlyImage(t, h)
	if err := os.Truncate(image, 8192); err != nil {
		t.Fatal(err)
	}
	e := h.Start(definition, "--", "true").Wait()
	if e.Code != 0 || !strings.Contains(e.Stderr, "store disk built") {
		t.Errorf("mvm run = %d; want 0 and a disk that is built again", e.Code)
	}
}

// makeStoreDisk puts the definition's disk into the cache, by a boot that ends at
// once.
func makeStoreDisk(t *testing.T, h *test.Host, definition string) {
	t.Helper()
	v := h.Start(definition)
	v.Await("store disk built")
	v.Signal(os.Interrupt)
	v.Wait()
}

func onlyImage(t *testing.T, h *test.Host) string {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(h.Dirs().Cache, "*.erofs"))
	if err != nil || len(images) != 1 {
		t.Fatalf("images in the cache: %v, %v; want one", images, err)
	}
	return images[0]
}

// damage changes the image in the cache and leaves its time stamp as it was.
func damage(t *testing.T, h *test.Host, change func(*testing.T, *os.File)) {
	t.Helper()
	path := onlyImage(t, h)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	change(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func writeAt(t *testing.T, f *os.File, b []byte, off int64) {
	t.Helper()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}
