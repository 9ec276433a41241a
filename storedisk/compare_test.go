package storedisk_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compare reports every difference between a mounted image and the store that
// it was made from. Owner and time are those that an image is to have.
func compare(t testing.TB, mounted, store string) {
	t.Helper()
	if diff := cmp.Diff(listing(t, store), listing(t, mounted)); diff != "" {
		t.Errorf("the image differs from its source (-source +image):\n%s", diff)
	}
	err := filepath.WalkDir(mounted, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		if st.Uid != 0 || st.Gid != 0 || st.Mtim.Sec != 1 || st.Mtim.Nsec != 0 {
			t.Errorf("%s: owner %d:%d, time %d.%d; want 0:0, 1.0", p, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// listing describes every file under root: type, mode, size, content, target.
func listing(t testing.TB, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch fi.Mode().Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			all[rel] = "link to " + target
			return err
		case fs.ModeDir:
			all[rel] = fmt.Sprintf("dir %o", fi.Mode().Perm())
			return nil
		}
		b, err := os.ReadFile(p)
		all[rel] = fmt.Sprintf("file %o %d %x", fi.Mode().Perm(), fi.Size(), sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
