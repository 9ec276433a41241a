package test_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mvmrun/mvm/test"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built is the mvm of this checkout, made for the first test that wants it.
var built struct {
	sync.Once
	dir string
	err error
}

// host returns a host for this checkout's mvm. It lets the test run beside others.
func host(t *testing.T) *test.Host {
	t.Helper()
	t.Parallel()
	build(t)
	return test.NewHost(t)
}

func build(t *testing.T) {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "mvm-test-"); built.err != nil {
			return
		}
		test.Program = filepath.Join(built.dir, "mvm")
		for _, args := range [][]string{{"generate", "./vm/initrd"}, {"build", "-o", test.Program, "./cmd/mvm"}} {
			cmd := exec.Command("go", args...)
			cmd.Dir = ".."
			if out, err := cmd.CombinedOutput(); err != nil {
				built.err = fmt.Errorf("go %s: %w\n%s", args[0], err, out)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
}

// define writes a definition of the example guest, with more lines for it, and
// returns the file.
func define(t *testing.T, h *test.Host, name, more string) string {
	t.Helper()
	return write(t, filepath.Join(h.Dir, name+".toml"),
		fmt.Sprintf("toplevel = %q\n%smem = 256\n%s", example(t), storeDir(t), more))
}

// example is the example guest's system path. The link to it is in the checkout,
// which some tests hide from the mvm that they run.
func example(t *testing.T) string {
	t.Helper()
	path, err := os.Readlink("../build/myvm")
	if err != nil {
		t.Fatalf("%v (run: make example)", err)
	}
	return path
}

// busybox is the program in the example guest that is all its commands, as the
// guest names it.
func busybox(t *testing.T) string {
	t.Helper()
	paths, err := os.ReadFile("../build/myvm-closure/store-paths")
	if err != nil {
		t.Fatalf("%v (run: make example)", err)
	}
	for path := range strings.Lines(string(paths)) {
		if path = strings.TrimSpace(path); strings.HasSuffix(path, "-busybox") {
			return "/nix/store/" + filepath.Base(path) + "/bin/busybox"
		}
	}
	t.Fatal("the example guest's closure has no busybox")
	return ""
}

// storeDir is the line about the store of a user who has neither root nor a
// nix-daemon: see examples/myvm/build.sh.
func storeDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../build/nix/nix/store")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil || os.Getuid() == 0 {
		return ""
	}
	return fmt.Sprintf("storeDir = %q\n", dir)
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
