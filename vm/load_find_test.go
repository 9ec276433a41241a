package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	near, far := t.TempDir(), t.TempDir()
	for _, file := range []string{
		filepath.Join(near, "a.toml"), filepath.Join(far, "a.json"),
		filepath.Join(far, "b.json"),
		filepath.Join(near, "twice.toml"), filepath.Join(near, "twice.json"),
	} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{near, filepath.Join(near, "absent"), far}
	for _, tt := range []struct {
		arg, want string // want is empty for a FindError
	}{
		{"a", filepath.Join(near, "a.toml")},
		{"b", filepath.Join(far, "b.json")},
		{"c", ""},
		{"twice", ""},
		{"", ""},
		{"-x", ""},
		{"a b", ""},
		{"a.toml", "a.toml"},
		{"./a", "./a"},
		{"/x/y", "/x/y"},
	} {
		got, err := Find(tt.arg, dirs)
		fe := (*FindError)(nil)
		if got != tt.want || (tt.want == "") != errors.As(err, &fe) {
			t.Errorf("Find(%q) = %q, %v; want %q", tt.arg, got, err, tt.want)
		}
		if fe != nil && fe.Hint == "" {
			t.Errorf("Find(%q) = %v, without a hint", tt.arg, err)
		}
	}
}
