package btrfs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/storedisk/btrfs"
)

// The directed cases are those in which an image's parts change their number
// or their place.
func TestBuildIsReadByTheKernel(t *testing.T) {
	tests := []struct {
		name string
		fill func(t *testing.T, dir string)
	}{
		{"nothing", func(*testing.T, string) {}},
		{"inline files only", func(t *testing.T, dir string) {
			for i := range 40 {
				write(t, filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, 2049-i))
			}
		}},
		{"data over the second superblock", func(t *testing.T, dir string) {
			for i := range 9 {
				write(t, filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte(fmt.Sprintln("data", i)), 1<<20+i))
			}
		}},
		{"metadata over the second superblock", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "data"), bytes.Repeat([]byte("x"), 61<<20))
			for i := range 4000 {
				write(t, filepath.Join(dir, fmt.Sprint("small", i)), bytes.Repeat([]byte{byte(i)}, 1500))
			}
		}},
		{"an extent of the largest size and more", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "big")
			write(t, path, []byte("begins"))
			if err := os.Truncate(path, 270<<20+1); err != nil {
				t.Fatal(err)
			}
		}},
		{"a directory of 20,000 entries", func(t *testing.T, dir string) {
			for i := range 20000 {
				write(t, filepath.Join(dir, fmt.Sprintf("%d%0200d", i, i%7)), nil)
			}
		}},
		{"names of one hash", func(t *testing.T, dir string) {
			a, b := collision(t)
			write(t, filepath.Join(dir, a), []byte(a))
			write(t, filepath.Join(dir, b), []byte(b))
		}},
		{"a deep tree", func(t *testing.T, dir string) {
			deep := dir + strings.Repeat("/d", 500)
			if err := os.MkdirAll(deep, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, deep+"/f", []byte("deep"))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := t.TempDir()
			tt.fill(t, src)
			image := build(t, []btrfs.Path{{Name: "path", Source: src}})
			if out, err := exec.Command("btrfs", "check", "--check-data-csum", image).CombinedOutput(); err != nil {
				t.Errorf("btrfs check: %v (package btrfs-progs)\n%s", err, out)
			}
			at := mount(t, image)
			if out, err := exec.Command("diff", "-r", "--no-dereference", src, at+"/path").CombinedOutput(); err != nil {
				t.Errorf("diff: %v\n%s", err, out)
			}
		})
	}
}

func TestBuildReportsSourcesThatChange(t *testing.T) {
	src := t.TempDir()
	file := filepath.Join(src, "f")
	write(t, file, bytes.Repeat([]byte("x"), 10000))
	for name, harm := range map[string]func() error{
		"no such file": func() error { return os.Remove(file) },
		"has shrunk":   func() error { return os.Truncate(file, 9000) },
		"has grown":    func() error { return os.Truncate(file, 20000) },
	} {
		write(t, file, bytes.Repeat([]byte("x"), 10000))
		f, err := os.Create(filepath.Join(t.TempDir(), "image"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// There are several files, so that one is still to be read when the
		// first is done.
		write(t, filepath.Join(src, "a"), bytes.Repeat([]byte("x"), 10000))
		done := false
		err = btrfs.Build(t.Context(), f, []btrfs.Path{{Name: "p", Source: src}}, btrfs.Options{
			Jobs: 1,
			Progress: func(int64, int64) {
				if !done {
					done = true
					if err := harm(); err != nil {
						t.Error(err)
					}
				}
			},
		})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), file) {
			t.Errorf("Build() of a file that changes = %v; want %q and the file's name", err, name)
		}
	}
}

// collision returns two names of the same hash, by the birthday paradox.
func collision(t testing.TB) (a, b string) {
	seen := map[uint64]string{}
	for i := range 1 << 20 {
		// A CRC tells similar names apart, so these are not.
		name := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, i)))[:20]
		h := btrfs.NameHash(name)
		if other, ok := seen[h]; ok {
			return other, name
		}
		seen[h] = name
	}
	t.Fatal("no two of a million names have the same hash")
	return "", ""
}

func build(t testing.TB, paths []btrfs.Path) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := btrfs.Build(t.Context(), f, paths, btrfs.Options{Label: "nix-store", UUID: [16]byte{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func mount(t testing.TB, image string) string {
	t.Helper()
	at := t.TempDir()
	if out, err := exec.Command("mount", "-t", "btrfs", "-o", "loop,ro", image, at).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s(run this test as root)", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return at
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
