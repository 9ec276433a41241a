package storedisk_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/storedisk"
)

// storeName returns a name that Nix would accept, the same for the same label.
func storeName(label string) string {
	sum := sha256.Sum256([]byte(label))
	return strings.ReplaceAll(hex.EncodeToString(sum[:16]), "e", "z") + "-" + label
}

// A tree is a directory's content: a path maps to what a file contains, to
// link(target), or to dir. "*" before a file's content makes it executable.
type tree map[string]string

const dir = "\x00dir"

func link(target string) string { return "\x00link" + target }

// plant makes a store in which each label is one path, and returns the closure
// of all of them. The entries are made in the order of their names, or against
// it, which shows in the order in which the directory lists them.
func plant(t testing.TB, store string, paths map[string]tree, backwards bool) *storedisk.Closure {
	t.Helper()
	var all []string
	for label, content := range paths {
		name := storeName(label)
		plantPath(t, filepath.Join(store, name), content, backwards)
		all = append(all, filepath.Join(store, name))
	}
	c, err := storedisk.New(store, all)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func plantPath(t testing.TB, root string, content tree, backwards bool) {
	t.Helper()
	names := sortedKeys(content, backwards)
	for _, name := range names {
		v, path := content[name], filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case v == dir:
			err = os.MkdirAll(path, 0o755)
		case strings.HasPrefix(v, "\x00link"):
			err = os.Symlink(strings.TrimPrefix(v, "\x00link"), path)
		case strings.HasPrefix(v, "*"):
			err = os.WriteFile(path, []byte(v[1:]), 0o555)
		default:
			err = os.WriteFile(path, []byte(v), 0o444)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	finish(t, root)
}

// finish gives a path the marks of one that Nix has finished.
func finish(t testing.TB, root string) {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		fi, err := os.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			if err := os.Chmod(p, fi.Mode().Perm()&^0o222); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, a := range slices.Backward(all) {
		touchLink(t, a, time.Unix(1, 0))
	}
}

// aFewPaths is a small closure with one of everything.
func aFewPaths() map[string]tree {
	return map[string]tree{
		"hello": {"bin/hello": "*#!/bin/sh\necho hello\n", "share/doc/README": strings.Repeat("read me\n", 2000)},
		"libs":  {"lib/libx.so.1": strings.Repeat("x", 4096), "lib/libx.so": link("libx.so.1"), "empty": dir, "none": ""},
		"file":  {"": "a store path that is a file\n"},
		"link":  {"": link(storeName("hello") + "/bin/hello")},
		"odd": {
			"a b": "space", "q\"uote": "quote", "back\\slash": "x", "ünï": "utf-8", "-dash": "x", "!x": "before dot",
			"...": "dots", "deep/er/and/deeper/f": "x", strings.Repeat("n", 255): "long name", "tab\there": "x",
			"long-link": link(strings.Repeat("t/", 1500)),
		},
	}
}
