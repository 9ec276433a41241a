package erofs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSetLabelUUID(t *testing.T) {
	src := files{"f": noise(10_000), "d/g": "x"}.make(t, filepath.Join(t.TempDir(), "src"))
	mkfs := func(args ...string) func(t *testing.T) *os.File {
		return func(t *testing.T) *os.File {
			f := newImage(t)
			run(t, tool(t, "mkfs.erofs", "erofs-utils"), append(args, f.Name(), src)...)
			return f
		}
	}
	tests := map[string]func(t *testing.T) *os.File{
		"ours": func(t *testing.T) *os.File {
			f, _ := build(t, []Path{{"src", src}}, Options{Label: "longer than new"})
			return f
		},
		"mkfs":                  mkfs(),
		"mkfs without checksum": mkfs("-Enosbcrc"),
		"mkfs compressed":       mkfs("-zlz4"),
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			f := make(t)
			uuid := [16]byte{0xde, 0xad, 15: 1}
			if err := SetLabelUUID(f, "nix-store", uuid); err != nil {
				t.Fatal(err)
			}
			fsck(t, f)
			mount(t, f)
			blkid := tool(t, "blkid", "util-linux")
			out := run(t, blkid, "-p", f.Name())
			for _, want := range []string{`LABEL="nix-store"`, `UUID="dead0000-0000-0000-0000-000000000001"`} {
				if !strings.Contains(out, want) {
					t.Errorf("blkid = %s; want %s", out, want)
				}
			}
		})
	}
}

// What SetLabelUUID writes is what Build would have written.
func TestSetLabelUUIDEqualsBuild(t *testing.T) {
	uuid := [16]byte{7, 8, 9}
	want, _ := build(t, nil, Options{Label: "label", UUID: uuid})
	f, _ := build(t, nil, Options{Label: "another"})
	if err := SetLabelUUID(f, "label", uuid); err != nil {
		t.Fatal(err)
	}
	if got, want := digest(t, f), digest(t, want); got != want {
		t.Errorf("relabelled image is %s; want %s", got, want)
	}
}

func TestSetLabelUUIDRefuses(t *testing.T) {
	tests := []struct {
		name, label, want string
		edit              func(f *os.File) error
	}{
		{"label", "sixteen bytes...", "at most 15", nil},
		{"empty file", "l", "not an EROFS image", func(f *os.File) error { return f.Truncate(0) }},
		{"short file", "l", "not an EROFS image", func(f *os.File) error { return f.Truncate(superOffset + 64) }},
		{"cut block", "l", "ends inside", func(f *os.File) error { return f.Truncate(superOffset + superSize) }},
		{"other magic", "l", "not an EROFS image", func(f *os.File) error {
			_, err := f.WriteAt([]byte{0}, superOffset)
			return err
		}},
		{"damaged", "l", "superblock checksum", func(f *os.File) error {
			_, err := f.WriteAt([]byte{1}, superOffset+superSize+40)
			return err
		}},
		{"block size", "l", "block size of 2^40", func(f *os.File) error {
			_, err := f.WriteAt([]byte{40}, superOffset+sbBlockBits)
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, _ := build(t, nil, Options{Layout: Packed})
			if tt.edit != nil {
				if err := tt.edit(f); err != nil {
					t.Fatal(err)
				}
			}
			before := digest(t, f)
			if err := SetLabelUUID(f, tt.label, [16]byte{1}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("SetLabelUUID() = %v; want an error with %q", err, tt.want)
			}
			if after := digest(t, f); after != before {
				t.Errorf("SetLabelUUID() changed what it refused from %s to %s", before, after)
			}
		})
	}
}

// FuzzRelabel checks that nothing but label, UUID and checksum changes.
func FuzzRelabel(f *testing.F) {
	img, _ := build(f, nil, Options{Layout: Packed})
	b := make([]byte, blockSize-superOffset)
	if _, err := img.ReadAt(b, superOffset); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(b))
	// The same with blocks of 512 bytes, which the fuzzer gets through sooner.
	b = b[:512]
	b[sbBlockBits] = 9
	le.PutUint32(b[sbChecksum:], 0)
	le.PutUint32(b[sbChecksum:], checksum(b))
	f.Add(b)
	f.Add(b[:superSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		got := bytes.Clone(b)
		if err := relabel(got, "label", [16]byte{1}); err != nil {
			return
		}
		want := bytes.Clone(got)
		copy(want[sbChecksum:], b[sbChecksum:sbCompat])
		copy(want[sbUUID:], b[sbUUID:sbLabel+labelSize])
		if !bytes.Equal(b, want) {
			t.Errorf("relabel() changed more than label, UUID and checksum")
		}
		if err := relabel(got, "other", [16]byte{}); err != nil {
			t.Errorf("relabel() of its own work = %v", err)
		}
	})
}
