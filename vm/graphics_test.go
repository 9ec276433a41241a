package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCheckGraphics(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"renderD128": 0o600, "renderD129": 0o606} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	gtk := Config{Graphics: Graphics{Enable: true}}
	for _, tt := range []struct {
		what string
		err  error
		want string // in the error
	}{
		{"no graphics", (&Config{}).checkGraphics(nil, false), ""},
		{"a desktop", gtk.checkGraphics(nil, true), ""},
		{"no desktop", gtk.checkGraphics(nil, false), "neither DISPLAY nor WAYLAND_DISPLAY is set"},
		{"no GPU", checkRenderNode(filepath.Join(dir, "none*"), nil), "there is no "},
		{"a GPU for all", checkRenderNode(filepath.Join(dir, "renderD*"), nobody), ""},
		{"a GPU for this user", checkRenderNode(filepath.Join(dir, "renderD128"), nil), ""},
		{"a GPU for another", checkRenderNode(filepath.Join(dir, "renderD128"), nobody), "renderD128: permission denied"},
	} {
		he := (*HostError)(nil)
		switch {
		case tt.want == "" && tt.err != nil:
			t.Errorf("%s: error %v; want none", tt.what, tt.err)
		case tt.want != "" && (!errors.As(tt.err, &he) || !strings.Contains(tt.err.Error(), tt.want) || he.Hint == ""):
			t.Errorf("%s: error %v; want a HostError that says %q and has a hint", tt.what, tt.err, tt.want)
		}
	}
}
