package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mvm": main})
}

// TestScripts runs testdata/script/*.txtar: what a person types, sees and gets.
// In them, $STATE, $RUN and $CACHE are the directories of machines, and
//
//	code N mvm ...   runs a command whose exit status must be N
//	nothing DIR...   fails if there is a file in one of the directories
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, d := range []struct{ name, env string }{
				{"STATE", "MVM_STATE_DIR"}, {"RUN", "MVM_RUNTIME_DIR"}, {"CACHE", "MVM_CACHE_DIR"},
			} {
				dir := filepath.Join(e.WorkDir, strings.ToLower(d.name))
				e.Setenv(d.name, dir)
				e.Setenv(d.env, dir)
			}
			e.Setenv("PATH", e.Getenv("PATH")+":/usr/sbin:/sbin")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    code,
			"nothing": nothing,
			"foreign": foreign,
		},
	})
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		var ok bool
		if got, ok = strings.CutPrefix(err.Error(), "exit status "); !ok {
			got = err.Error()
		}
	}
	if got != args[0] {
		ts.Fatalf("%s ended with %s; want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func nothing(ts *testscript.TestScript, neg bool, dirs []string) {
	if neg || len(dirs) == 0 {
		ts.Fatalf("usage: nothing DIR...")
	}
	for _, dir := range dirs {
		_ = filepath.WalkDir(ts.MkAbs(dir), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				ts.Fatalf("there is %s", path)
			}
			return nil
		})
	}
}

// foreign sets FOREIGN to a directory of machines in which the machine usr belongs
// to another user.
func foreign(ts *testscript.TestScript, _ bool, _ []string) {
	if os.Getuid() != 0 {
		ts.Setenv("FOREIGN", "/") // its usr is root's
		return
	}
	dir := ts.MkAbs("foreign")
	ts.Check(os.MkdirAll(filepath.Join(dir, "usr"), 0o700))
	ts.Check(os.Chown(filepath.Join(dir, "usr"), 65534, 65534))
	ts.Setenv("FOREIGN", dir)
	ts.Logf("%s/usr belongs to user 65534", dir)
}
