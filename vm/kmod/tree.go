package kmod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Tree is the modules of one kernel. It is read once and not changed.
type Tree struct {
	dir     string
	modules map[string]entry    // by name
	soft    map[string][]string // what to load before a module, by its name
	aliases []alias             // in the order of the file
	exact   map[string][]string // aliases without a wildcard
	builtin map[string]bool     // names and aliases of what is in the kernel itself
}

// An entry is a line of modules.dep.
type entry struct {
	path string   // below dir
	deps []string // names
}

// An alias is a pattern with a wildcard.
type alias struct{ pattern, module string }

// A HostError is something that this host lacks, with what to do about it.
type HostError struct {
	Op   string
	Err  error
	Hint string // one imperative sentence, or ""
}

func (e *HostError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *HostError) Unwrap() error { return e.Err }

// Open reads the module tree in dir: /lib/modules/VERSION, or any directory
// that has exactly one such tree in lib/modules, as NixOS's kernel-modules has.
func Open(dir string) (*Tree, error) {
	dir, err := find(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{
		dir:     dir,
		modules: make(map[string]entry),
		soft:    make(map[string][]string),
		exact:   make(map[string][]string),
		builtin: make(map[string]bool),
	}
	for _, index := range []struct {
		name     string
		required bool
		parse    func([]byte) error
	}{
		{"modules.dep", true, t.parseDep},
		{"modules.alias", false, t.parseAlias},
		{"modules.softdep", false, t.parseSoftdep},
		{"modules.builtin", false, t.parseBuiltin},
		{"modules.builtin.modinfo", false, t.parseModinfo},
	} {
		b, err := os.ReadFile(filepath.Join(dir, index.name))
		if errors.Is(err, fs.ErrNotExist) && !index.required {
			continue
		}
		if err == nil {
			err = index.parse(b)
		}
		if err != nil {
			return nil, readError(dir, index.name, err)
		}
	}
	return t, nil
}

func readError(dir, name string, err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	he := &HostError{Op: "read " + filepath.Join(dir, name), Err: err}
	if errors.Is(err, fs.ErrNotExist) {
		root := strings.TrimSuffix(filepath.Dir(filepath.Dir(filepath.Dir(dir))), "/")
		he.Hint = fmt.Sprintf("run depmod -b %s/ %s to index the modules", root, filepath.Base(dir))
	}
	return he
}

// find returns the directory that has modules.dep, or dir itself.
func find(dir string) (string, error) {
	for _, below := range []string{"", "lib/modules"} {
		entries, err := os.ReadDir(filepath.Join(dir, below))
		if err != nil {
			if below == "" {
				return "", readError(dir, "", err)
			}
			continue
		}
		if below == "" {
			if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), "modules.") }) {
				return dir, nil
			}
			continue
		}
		switch len(entries) {
		case 1:
			return filepath.Join(dir, below, entries[0].Name()), nil
		case 0:
		default:
			return "", &HostError{
				Op:   "open the kernel modules in " + dir,
				Err:  fmt.Errorf("there are %d versions in lib/modules", len(entries)),
				Hint: "name one of the directories in lib/modules",
			}
		}
	}
	return dir, nil
}

// Dir is the directory that the tree was read from.
func (t *Tree) Dir() string { return t.dir }

// Release is the kernel's version, as uname -r has it in the guest.
func (t *Tree) Release() string { return filepath.Base(t.dir) }

// normal is a module's name as the kernel has it. File names and people use -
// and _ as they please.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// suffixes are a module's file names, compressed or not.
var suffixes = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// nameOf returns the name of the module in a file.
func nameOf(file string) (string, bool) {
	base := filepath.Base(file)
	for _, s := range suffixes {
		if name, ok := strings.CutSuffix(base, s); ok && name != "" {
			return normal(name), true
		}
	}
	return "", false
}

// parseDep reads "path: path…": a module and everything it needs.
func (t *Tree) parseDep(b []byte) error {
	return eachLine(b, func(line string) error {
		file, deps, ok := strings.Cut(line, ":")
		name, ok2 := nameOf(file)
		if !ok || !ok2 {
			return fmt.Errorf("%q is not a dependency", line)
		}
		if !filepath.IsLocal(file) && !filepath.IsAbs(file) {
			return fmt.Errorf("%q is outside of the directory", file)
		}
		e := entry{path: file}
		for d := range strings.FieldsSeq(deps) {
			dep, ok := nameOf(d)
			if !ok {
				return fmt.Errorf("%q is not a module", d)
			}
			e.deps = append(e.deps, dep)
		}
		t.modules[name] = e
		return nil
	})
}

// parseAlias reads "alias PATTERN MODULE".
func (t *Tree) parseAlias(b []byte) error {
	return eachLine(b, func(line string) error {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "alias" {
			return nil // depmod writes nothing else that matters here
		}
		t.addAlias(f[1], f[2])
		return nil
	})
}

func (t *Tree) addAlias(pattern, module string) {
	pattern, module = normalAlias(pattern), normal(module)
	if strings.ContainsAny(pattern, "*?[") {
		t.aliases = append(t.aliases, alias{pattern, module})
	} else {
		t.exact[pattern] = append(t.exact[pattern], module)
	}
}

// normalAlias is normal, but for what is in brackets: there a - is a range.
func normalAlias(s string) string {
	depth := 0
	return strings.Map(func(r rune) rune {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '-' && depth == 0:
			return '_'
		}
		return r
	}, s)
}

// parseSoftdep reads "softdep MODULE pre: NAME… post: NAME…". What comes after
// a module is for programs that can load it later.
func (t *Tree) parseSoftdep(b []byte) error {
	return eachLine(b, func(line string) error {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "softdep" {
			return nil
		}
		name, pre := normal(f[1]), true // names before any "pre:" count as such
		for _, s := range f[2:] {
			switch {
			case s == "pre:":
				pre = true
			case s == "post:":
				pre = false
			case pre:
				t.soft[name] = append(t.soft[name], s)
			}
		}
		return nil
	})
}

// parseBuiltin reads the paths that builtin modules would have.
func (t *Tree) parseBuiltin(b []byte) error {
	return eachLine(b, func(line string) error {
		if name, ok := nameOf(line); ok {
			t.builtin[name] = true
		}
		return nil
	})
}

// parseModinfo reads the NUL-separated "MODULE.KEY=VALUE" of what is built in.
func (t *Tree) parseModinfo(b []byte) error {
	for s := range bytes.SplitSeq(b, []byte{0}) {
		key, value, ok := strings.Cut(string(s), "=")
		if _, key, ok2 := strings.Cut(key, "."); ok && ok2 && key == "alias" {
			t.builtin[normalAlias(value)] = true
		}
	}
	return nil
}

// eachLine calls f for every line that is neither empty nor a comment.
func eachLine(b []byte, f func(string) error) error {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20) // a module with hundreds of dependencies is no reason to fail
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := f(line); err != nil {
			return err
		}
	}
	return s.Err()
}
