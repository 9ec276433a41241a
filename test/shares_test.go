package test_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
)

// protocols are the ways of a share. The generic kernel is for 9p, which the
// example guest's own does not have.
var protocols = []string{"9p", "virtiofs"}

// share is a share by a protocol, and what the guest needs for that.
func share(proto, tag, source, where string) string {
	return fmt.Sprintf("[[shares]]\nproto = %q\ntag = %q\nsource = %q\nmountPoint = %q\n", proto, tag, source, where)
}

// kernelFor are the lines that let the example guest boot with a kernel that has
// a protocol.
func kernelFor(t *testing.T, proto string) string {
	t.Helper()
	if proto != "9p" {
		return ""
	}
	dir, err := filepath.Abs("../build/kernel-generic")
	if err != nil {
		t.Fatal(err)
	}
	version, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	if err != nil {
		t.Fatalf("%v (run: scripts/setup)", err)
	}
	return fmt.Sprintf("kernel = %q\nmodules = %q\n", filepath.Join(dir, "boot/vmlinuz-"+strings.TrimSpace(string(version))), dir)
}

// storeOnHost is where this host keeps the example guest's store.
func storeOnHost(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(storeDir(t)) {
		return strings.Trim(strings.TrimSpace(strings.TrimPrefix(line, "storeDir = ")), `"`)
	}
	return mounts.StorePath
}

// storeName is the name of the path of the example guest's closure that ends so.
func storeName(t *testing.T, suffix string) string {
	t.Helper()
	paths, err := os.ReadFile("../build/myvm-closure/store-paths")
	if err != nil {
		t.Fatalf("%v (run: make example)", err)
	}
	for path := range strings.FieldsSeq(string(paths)) {
		if strings.HasSuffix(path, suffix) {
			return filepath.Base(path)
		}
	}
	t.Fatalf("the example guest's closure has no path that ends in %s", suffix)
	return ""
}

// sum is the checksum of a file of this host, as sha256sum prints it.
func sum(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// reported are the mounts at and below a directory in a guest's mountinfo, in the
// words of mount(8), with those options only that a plan decides about.
func reported(t *testing.T, mountinfo, dir string) []string {
	t.Helper()
	all, err := mounts.ParseMountInfo(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range all {
		if m.Where != dir && !strings.HasPrefix(m.Where, strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		options := []string{"rw"}
		if slices.Contains(slices.Concat(m.Options, m.Super), "ro") {
			options[0] = "ro"
		}
		for _, o := range m.Super {
			if strings.Contains(o, "dir=") || o == "userxattr" {
				options = append(options, o)
			}
		}
		found = append(found, fmt.Sprintf("%s on %s type %s (%s)", m.Source, m.Where, m.Type, strings.Join(options, ",")))
	}
	return found
}

// TestHostStoreByShare boots guests whose store is the host's, by each protocol,
// in every place where it can be.
func TestHostStoreByShare(t *testing.T) {
	overlay := func(where string) string { return fmt.Sprintf("writableStoreOverlay = %q\n", where) }
	const (
		below  = "lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/store,workdir=/nix/.rw-store/work"
		volume = "[[volumes]]\nimage = \"rw.img\"\nsize = 16\nlabel = \"rw-store\"\nmountPoint = \"/nix/.rw-store\"\n"
		// That the host refuses, too, is seen once the guest's kernel does not.
		refused = `touch /nix/store/x 2>&1; mount -o remount,rw /nix/store; touch /nix/store/x 2>&1
			awk '$2 == "/nix/store" { print substr($4, 1, 2) }' /proc/self/mounts`
		written = `echo new >/nix/store/x && cat /nix/store/x && rm -r /nix/store/*-myvm-hello && ! ls -d /nix/store/*-myvm-hello 2>&1
			! touch /nix/.ro-store/x 2>&1`
		refusal = "touch: /nix/store/x: Read-only file system\n"
		writing = "new\nls: /nix/store/*-myvm-hello: No such file or directory\ntouch: /nix/.ro-store/x: Read-only file system\n"
	)
	tests := []struct {
		name, definition, where string
		script, want            string
		mounts                  []string // with %s for the protocol
	}{
		{"bound", "", "/nix/.ro-store", refused, refusal + refusal + "rw\n", []string{
			"store on /nix/.ro-store type %s (ro)", "store on /nix/store type %s (ro)",
		}},
		{"in-place", "", "/nix/store", refused, refusal + refusal + "rw\n", []string{
			"store on /nix/store type %s (ro)",
		}},
		{"overlay", overlay("/nix/.rw-store"), "/nix/.ro-store", written, writing, []string{
			"store on /nix/.ro-store type %s (ro)", "overlay on /nix/store type overlay (rw," + below + ")",
		}},
		{"overlay-on-a-volume", overlay("/nix/.rw-store") + volume, "/nix/.ro-store", written, writing, []string{
			"store on /nix/.ro-store type %s (ro)", "/dev/vda on /nix/.rw-store type ext4 (rw)",
			"overlay on /nix/store type overlay (rw," + below + ")",
		}},
	}
	for _, tt := range tests {
		for _, proto := range protocols {
			t.Run(tt.name+"/"+proto, func(t *testing.T) {
				h := host(t)
				more := kernelFor(t, proto) + tt.definition + share(proto, "store", storeOnHost(t), tt.where)
				v := h.Start(define(t, h, tt.name, more), "--", "sh", "-c",
					"cat /proc/self/mountinfo; echo; sha256sum <"+busybox(t)+"; "+tt.script)
				e := v.Wait()
				checkEnd(t, e, 0)
				mountinfo, rest, _ := strings.Cut(e.Stdout, "\n\n")
				var want []string
				for _, m := range tt.mounts {
					want = append(want, strings.ReplaceAll(m, "%s", proto))
				}
				got := reported(t, mountinfo+"\n", "/nix")
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the guest has other mounts (-want +got):\n%s", diff)
				}
				inStore := filepath.Join(storeOnHost(t), strings.TrimPrefix(busybox(t), mounts.StorePath))
				if diff := cmp.Diff(sum(t, inStore)+"  -\n"+tt.want, rest); diff != "" {
					t.Errorf("the guest's output differs (-want +got):\n%s", diff)
				}
				if _, err := os.Lstat(filepath.Join(storeOnHost(t), "x")); err == nil {
					t.Error("the guest wrote to the host's store")
				}
			})
		}
	}
}
