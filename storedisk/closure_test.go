package storedisk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/storedisk"
)

const (
	hello = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-hello-2.12"
	glibc = "/nix/store/zyxwvsrqpnmlkjihgfdcba9876543210-glibc-2.37"
)

func TestNewReportsAllMistakes(t *testing.T) {
	tests := []struct {
		name  string
		store string
		paths []string
		want  []string // fragments of the error, in order
	}{
		{"good", "", []string{glibc, hello}, nil},
		{"guest's terms", "/mnt/nix/store", []string{hello}, nil},
		{"empty", "", nil, []string{"closure: the closure is empty"}},
		{"relative", "", []string{"hello"}, []string{`"hello" is not an absolute path`}},
		{"elsewhere", "", []string{"/usr/bin/env"}, []string{"/usr/bin/env is not in the store /nix/store"}},
		{"inside", "", []string{hello + "/bin/hello"}, []string{"lies inside a store path: list " + hello + " instead"}},
		{"twice", "", []string{hello, glibc, hello}, []string{hello + " is listed twice"}},
		{"short hash", "", []string{"/nix/store/abc-x"}, []string{"want 32 characters, a dash and a name"}},
		{"base 32", "", []string{"/nix/store/e123456789abcdfghijklmnpqrsvwxyz-x"}, []string{"not in Nix's base 32"}},
		{"no name", "", []string{"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-"}, []string{"nothing follows the dash"}},
		{"long name", "", []string{hello + strings.Repeat("x", 211)}, []string{"the limit is 211"}},
		{"character", "", []string{hello + "~"}, []string{`character '~' is not allowed`}},
		{"dots", "", []string{"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-.."}, []string{"may not begin with dots"}},
		{"relative store", "store", []string{hello}, []string{`store directory "store" is not an absolute path`}},
		{"several", "", []string{"x", hello, hello, "/etc"}, []string{
			"closure:", "\n  - \"x\" is not", "\n  - " + hello + " is listed twice", "\n  - /etc is not in",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := storedisk.New(tt.store, tt.paths)
			if len(tt.want) == 0 {
				if err != nil {
					t.Errorf("New(%q) = %v; want no error", tt.paths, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("New(%q) succeeded; want an error", tt.paths)
			}
			rest := err.Error()
			for _, want := range tt.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("New(%q) = %v; want %q in it", tt.paths, err, want)
				}
				rest = after
			}
		})
	}
}

func TestClosureIsSortedAndEdited(t *testing.T) {
	c, err := storedisk.ReadList(strings.NewReader("\n"+glibc+"\n\n"+hello+"\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	names := func(paths ...string) (all []string) {
		for _, p := range paths {
			all = append(all, filepath.Base(p))
		}
		return all
	}
	if diff := cmp.Diff(names(hello, glibc), c.Names); diff != "" {
		t.Errorf("ReadList().Names (-want +got):\n%s", diff)
	}
	less, err := c.Without(glibc)
	if err != nil {
		t.Fatal(err)
	}
	more, err := less.With(glibc, hello)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Names, more.Names); diff != "" {
		t.Errorf("Without().With() is not what it was (-want +got):\n%s", diff)
	}
	if _, err := less.Without(glibc); err == nil || !strings.Contains(err.Error(), "is not in the closure") {
		t.Errorf("Without(a path that is not there) = %v; want an error", err)
	}
	if _, err := less.Without(hello); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("Without(the last path) = %v; want an error", err)
	}
}

func TestRegistrationIsThatOfTheClosure(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gone := "/nix/store/1111111111111111111111111111111z-gone"
	write("store-paths", hello+"\n"+glibc+"\n"+gone+"\n")
	write("registration", strings.Join([]string{
		glibc, "sha256:aa", "10", "", "1", glibc,
		hello, "sha256:bb", "20", "/nix/store/x.drv", "3", hello, gone, glibc,
		gone, "sha256:cc", "30", "", "0", "",
	}, "\n"))
	c, err := storedisk.ReadClosureInfo(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.Without(gone); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := c.WriteRegistration(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		hello, "sha256:bb", "20", "/nix/store/x.drv", "2", hello, glibc,
		glibc, "sha256:aa", "10", "", "1", glibc, "",
	}, "\n")
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("WriteRegistration (-want +got):\n%s", diff)
	}

	for name, content := range map[string]string{
		"cut short":  glibc + "\nsha256:aa\n10\n",
		"no number":  glibc + "\nsha256:aa\n10\n\nmany\n",
		"missing":    "",
		"fewer refs": glibc + "\nsha256:aa\n10\n\n2\n" + glibc + "\n",
	} {
		write("registration", content)
		if err := c.WriteRegistration(t.Context(), &got); err == nil || !strings.HasPrefix(err.Error(), "registration: ") {
			t.Errorf("WriteRegistration(%s) = %v; want an error", name, err)
		}
	}
	if _, err := storedisk.ReadClosureInfo(t.TempDir(), ""); !isHostError(err) {
		t.Errorf("ReadClosureInfo(empty directory) = %v; want a HostError", err)
	}
}

func TestBuildReportsAllMissingPaths(t *testing.T) {
	store := t.TempDir()
	c := plant(t, store, aFewPaths(), false)
	missing := []string{storeName("hello"), storeName("link")}
	for _, name := range missing {
		if err := os.RemoveAll(filepath.Join(store, name)); err != nil {
			t.Fatal(err)
		}
	}
	cache := &storedisk.Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	_, err := cache.Build(t.Context(), c, storedisk.Options{})
	for _, name := range missing {
		if err == nil || !strings.Contains(err.Error(), "\n  - "+store+"/"+name+": no such file or directory") {
			t.Errorf("Build() = %v; want a line for %s", err, name)
		}
	}
	if _, err := os.Stat(cache.Dir); !os.IsNotExist(err) {
		t.Errorf("a Build that could not begin left a cache directory: %v", err)
	}
}

func TestSizeIsLargestFirst(t *testing.T) {
	store := t.TempDir()
	c := plant(t, store, map[string]tree{
		"small": {"f": "12345", "l": link("target")},
		"large": {"a": strings.Repeat("x", 10000), "sub/b": "y"},
	}, false)
	got, err := storedisk.Size(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := &storedisk.SizeReport{Bytes: 10012, Files: 7, Paths: []storedisk.PathSize{
		{Path: store + "/" + storeName("large"), Bytes: 10001, Files: 4},
		{Path: store + "/" + storeName("small"), Bytes: 11, Files: 3},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Size (-want +got):\n%s", diff)
	}
}
