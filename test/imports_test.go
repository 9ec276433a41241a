package test_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/mvmrun/mvm/"

// A layer is a part of mvm and what it may import besides the standard library.
type layer struct {
	of     string
	mvm    []string // parts of mvm
	others []string // of other modules; nil allows any
}

// layers says what each part of mvm may import of mvm and of others, as
// docs/design.md draws it. The first entry that matches a package is its layer;
// a name stands for its package and all below it. Tests may import anything.
var layers = []layer{
	{of: "cmd/mvm-init", mvm: []string{"guest", "mounts"}, others: []string{"golang.org/x/sys"}},
	{of: "cmd/mvm", mvm: []string{"vm", "qemu", "storedisk", "mounts"}},
	{of: "vm", mvm: []string{"vm", "qemu", "storedisk", "mounts"}},
	{of: "qemu", mvm: []string{"qemu"}},
	{of: "storedisk", mvm: []string{"storedisk"}},
	{of: "guest", mvm: []string{"guest", "mounts"}, others: []string{"golang.org/x/sys"}},
	{of: "mounts", mvm: []string{"mounts"}, others: []string{}},
	{of: "test", mvm: []string{"test", "vm", "qemu", "storedisk", "mounts"}},
	{of: "scripts", mvm: []string{"vm", "qemu", "storedisk", "mounts"}, others: []string{"golang.org/x/sys"}},
}

// owners are the only packages that may import a module: what it costs, or what
// it gets wrong, is dealt with there.
var owners = map[string]string{
	"github.com/vishvananda/netlink":   "vm/hostnet",
	"github.com/digitalocean/go-qemu":  "qemu",
	"github.com/godbus/dbus/v5":        "vm/machined",
	"github.com/pelletier/go-toml/v2":  "vm",
	"github.com/cavaliergopher/cpio":   "vm/initrd",
	"github.com/spf13/cobra":           "cmd/mvm",
	"github.com/lmittmann/tint":        "cmd/mvm",
	"github.com/rogpeppe/go-internal":  "test",
	"github.com/google/go-cmp":         "test",
	"github.com/coreos/go-systemd/v22": "vm",
}

func TestImportsFollowTheLayers(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(layers, func(l layer) bool { return within(name, l.of) })
		if i < 0 {
			t.Errorf("%s is in no layer; add it to docs/design.md and to this test", name)
			continue
		}
		l := layers[i]
		for _, imp := range p.Imports {
			if target, ok := strings.CutPrefix(imp, module); ok {
				if !slices.ContainsFunc(l.mvm, func(dir string) bool { return within(target, dir) }) {
					t.Errorf("%s imports %s; %s may import of mvm only %s", name, target, l.of, list(l.mvm))
				}
				continue
			}
			if !thirdParty(imp) {
				continue
			}
			if l.others != nil && !slices.ContainsFunc(l.others, func(dir string) bool { return within(imp, dir) }) {
				t.Errorf("%s imports %s; %s may import of other modules only %s", name, imp, l.of, list(l.others))
			}
			for m, owner := range owners {
				if within(imp, m) && !within(name, owner) {
					t.Errorf("%s imports %s, which is %s's alone", name, imp, owner)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItHolds(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment; say in doc.go what it holds", strings.TrimPrefix(p.ImportPath, module))
		}
	}
}

// ambient is what belongs to the commands alone: a library is told by its caller
// where to write and what to do, and returns instead of ending the process.
var ambient = map[string][]string{
	"fmt": {"Print", "Printf", "Println"},
	"os":  {"Args", "Exit", "Stdin", "Stdout", "Stderr", "Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv"},
	"log": {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
}

func TestOnlyCommandsPrintExitAndReadTheEnvironment(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if p.Name == "main" || within(name, "test") || within(name, "guest") {
			continue // guest is all of process 1: its environment is the kernel's gift to it
		}
		if slices.Contains(p.Imports, "flag") {
			t.Errorf("%s imports flag; only commands read flags", name)
		}
		for _, file := range p.GoFiles {
			for _, use := range ambientUses(t, filepath.Join(p.Dir, file)) {
				t.Errorf("%s/%s; only commands may", name, use)
			}
		}
	}
}

// ambientUses lists the uses of ambient names in a file, as "file.go:12 uses os.Exit".
func ambientUses(t *testing.T, path string) []string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return nil
	}
	imported := map[string]string{} // local name to path
	for _, spec := range f.Imports {
		imp := strings.Trim(spec.Path.Value, `"`)
		local := imp
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imported[local] = imp
	}
	var uses []string
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok || !slices.Contains(ambient[imported[x.Name]], sel.Sel.Name) {
			return true
		}
		pos := fset.Position(sel.Pos())
		pos.Filename, pos.Column = filepath.Base(path), 0
		uses = append(uses, pos.String()+" uses "+x.Name+"."+sel.Sel.Name)
		return true
	})
	return uses
}

// A goPackage is what "go list" says of a package.
type goPackage struct {
	ImportPath, Name, Dir, Doc string
	GoFiles, Imports           []string
}

var listOnce = sync.OnceValues(func() ([]goPackage, error) {
	// -e: a package that does not compile is the compiler's to report.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,Doc,GoFiles,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func packages(t *testing.T) []goPackage {
	t.Helper()
	all, err := listOnce()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) == 0 {
		t.Fatal("go list found no packages")
	}
	return all
}

// within reports whether path is dir or something below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// thirdParty reports whether an import path is one of another module: those begin
// with a host name.
func thirdParty(imp string) bool {
	host, _, _ := strings.Cut(imp, "/")
	return strings.Contains(host, ".")
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
