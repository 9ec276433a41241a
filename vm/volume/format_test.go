package volume

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// qemuImgRun runs qemu-img, which must succeed, and returns its output.
func qemuImgRun(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).Output()
	if err != nil {
		t.Fatalf("qemu-img %q: %v (install qemu-utils)", args, err)
	}
	return out
}

// TestFormats: an image of each format holds the file system, and only qcow2 can
// grow.
func TestFormats(t *testing.T) {
	for _, format := range []Format{QCOW2, VHD, VHDX} {
		t.Run(string(format), func(t *testing.T) {
			s := Spec{Path: filepath.Join(t.TempDir(), "img"), Format: format, Create: true, MiB: 9, FSType: "ext4", Label: "data"}
			if got, err := outcome(t, s); got != Made || err != nil {
				t.Fatalf("Open() = %v, %v; want Made", got, err)
			}
			onlyEntry(t, s.Path)
			raw := filepath.Join(t.TempDir(), "raw")
			qemuImgRun(t, "convert", "-f", format.QEMU(), "-O", "raw", s.Path, raw)
			checkBlkid(t, raw, "ext4", "data")
			if fi, err := os.Stat(raw); err != nil || fi.Size() != 9<<20 {
				t.Errorf("the disk in the image has %d bytes, %v; want 9 MiB", fi.Size(), err)
			}
			if got, err := outcome(t, s); got != Found || err != nil {
				t.Errorf("Open() again = %v, %v; want Found", got, err)
			}
			s.MiB = 8
			_, err := outcome(t, s)
			checkHostError(t, err, "the image has 9 MiB, and is to have 8", "set size = 9")
			s.MiB = 16
			got, err := outcome(t, s)
			if format != QCOW2 {
				checkHostError(t, err, "nothing grows an image of type "+string(format), "convert it")
				return
			}
			var info struct {
				Size int64 `json:"virtual-size"`
			}
			if jerr := json.Unmarshal(qemuImgRun(t, "info", "--output=json", s.Path), &info); jerr != nil || info.Size != 16<<20 || got != Grown || err != nil {
				t.Errorf("Open() with more = %v, %v, and the disk has %d bytes, %v; want Grown, 16 MiB", got, err, info.Size, jerr)
			}
		})
	}
}

// TestImagesThatAreNotWhatTheySay are left as they are.
func TestImagesThatAreNotWhatTheySay(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("secret"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImgRun(t, "create", "-q", "-f", "qcow2", "-b", path("secret"), "-F", "raw", path("layer"), "8M")
	qemuImgRun(t, "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b", path("secret"), "-F", "raw", path("layer2"), "8M")
	qemuImgRun(t, "create", "-q", "-f", "qcow2", "-o", "data_file="+path("elsewhere"), path("parted"), "8M")
	qemuImgRun(t, "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s,preallocation=off", path("closed"), "8M")
	for _, tt := range []struct {
		image  string
		format Format
		want   string
	}{
		{"secret", QCOW2, "it is no qcow2 image"},
		{"secret", VHD, "it is no vhd image"},
		{"secret", VHDX, "it is no vhdx image"},
		{"layer", VHD, "it is no vhd image"},
		{"layer", QCOW2, "it is a layer over another file, and a guest gets no file but its image"},
		{"layer2", QCOW2, "it is a layer over another file, and a guest gets no file but its image"},
		{"parted", QCOW2, "its data is in another file, and a guest gets no file but its image"},
		{"closed", QCOW2, "it is encrypted, and mvm has no key for it"},
	} {
		before, err := os.ReadFile(path(tt.image))
		if err != nil {
			t.Fatal(err)
		}
		for _, create := range []bool{false, true} {
			_, err = Open(t.Context(), Spec{Path: path(tt.image), Format: tt.format, Create: create, MiB: 16, FSType: "ext4"})
			checkHostError(t, err, tt.want, "")
		}
		after, err := os.ReadFile(path(tt.image))
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("the image %s has changed, %v", tt.image, err)
		}
	}
}
