package volume

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnsureMakesEachFileSystemWithItsLabel(t *testing.T) {
	for fsType, label := range map[string]string{
		"ext2": "data", "ext3": "data", "ext4": "sixteen-bytes-ok", "xfs": "data", "btrfs": "data", "vfat": "DATA",
	} {
		t.Run(fsType, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub", "a,b.img")
			s := Spec{Path: path, MiB: 320, FSType: fsType, Label: label} // xfs wants 300 MiB
			if made, err := Ensure(t.Context(), s); !made || err != nil {
				t.Fatalf("Ensure() = %v, %v; want true", made, err)
			}
			out, err := exec.Command("blkid", "-p", "-o", "export", path).CombinedOutput()
			if err != nil {
				t.Fatalf("blkid: %v: %s", err, out)
			}
			for _, want := range []string{"TYPE=" + fsType, "LABEL=" + label} {
				if !strings.Contains(string(out), want+"\n") {
					t.Errorf("blkid says\n%swant %s", out, want)
				}
			}
			if fi, _ := os.Stat(path); fi.Size() != 320<<20 || fi.Mode().Perm() != 0o600 {
				t.Errorf("image has %d bytes, mode %v; want 320 MiB, 0600", fi.Size(), fi.Mode().Perm())
			}
			onlyEntry(t, path)
		})
	}
}

func TestEnsureLeavesWhatExists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // even if it looks blank
		t.Fatal(err)
	}
	if made, err := Ensure(t.Context(), Spec{Path: path, MiB: 8, FSType: "ext4"}); made || err != nil {
		t.Errorf("Ensure() = %v, %v; want false", made, err)
	}
	if fi, _ := os.Stat(path); fi.Size() != 0 {
		t.Errorf("the file has %d bytes now", fi.Size())
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "img")
	for name, s := range map[string]Spec{
		"refused by mkfs": {Path: path, MiB: 8, FSType: "ext4", Args: []string{"-b", "777"}},
		"no such type":    {Path: path, MiB: 8, FSType: "zfs"},
	} {
		if made, err := Ensure(t.Context(), s); made || err == nil {
			t.Errorf("%s: Ensure() = %v, %v; want an error", name, made, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: left %v", name, entries)
		}
	}
}

func onlyEntry(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v; want the image alone", entries, err)
	}
}
