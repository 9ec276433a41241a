package kmod

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Want is a module that somebody asks for.
type Want struct {
	// Name is a module's name, with - or _, or an alias: "fs-erofs",
	// "crc32c". An alias that several modules answer to brings them all.
	Name string

	// Optional says that a guest does without it if the kernel has it not.
	Optional bool

	// For is what needs it, for the error: "the store disk". It may be empty.
	For string
}

// A Module is one file to load.
type Module struct {
	Name string // as the kernel has it: "virtio_blk"
	Path string // the file, perhaps compressed
}

// ErrNoModule is wrapped by the error for a name that the kernel has neither
// as a module nor built in.
var ErrNoModule = errors.New("no such kernel module")

// hidden is what modules request from user space when they are used, and what
// no index tells of. A request is met by what the kernel has built in; names
// that it has neither way cost nothing.
var hidden = map[string][]string{
	// lib/libcrc32c.c allocates a "crc32c" hash when it is loaded.
	"libcrc32c": {"crc32c"},
	// fs/ext4/super.c and fs/jbd2/journal.c before Linux 6.14 call
	// crypto_alloc_shash("crc32c").
	"ext4": {"crc32c"},
	"jbd2": {"crc32c"},
	// fs/btrfs/super.c: the checksums a file system may have been made with.
	"btrfs": {"crc32c", "xxhash64", "sha256", "blake2b-256"},
	// fs/fat/inode.c loads the code page and the character set of its options,
	// whose defaults are FAT_DEFAULT_CODEPAGE and FAT_DEFAULT_IOCHARSET.
	"vfat": {"nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"},
	// net/9p/mod.c requests the transport "9p-virtio" by name.
	"9p": {"9pnet_virtio"},
}

// faster is what is worth loading although the kernel has a slower version
// built in: file systems that checksum all they read or write choose their
// hash when they are mounted, and keep it.
var faster = map[string][]string{
	"ext4":  {"crc32c"},
	"xfs":   {"crc32c"},
	"btrfs": {"crc32c", "xxhash64", "sha256", "blake2b-256"},
}

// Resolve returns the modules for wants in the order to load them: a module
// comes after everything that it depends on, and otherwise in the order of
// wants. It reports every want that cannot be had, not only the first.
func (t *Tree) Resolve(wants []Want) ([]Module, error) {
	r := resolver{tree: t, done: make(map[string]bool)}
	var missing []error
	for _, w := range wants {
		if !r.addAny(w.Name) && !w.Optional {
			missing = append(missing, &missingError{want: w, release: t.Release()})
		}
	}
	if err := errors.Join(append(missing, r.errs...)...); err != nil {
		return nil, err
	}
	return r.list, nil
}

// A missingError names the module, the kernel, and who wants it.
type missingError struct {
	want    Want
	release string
}

func (e *missingError) Error() string {
	what := "module " + e.want.Name
	if kind, ok := strings.CutPrefix(e.want.Name, fsPrefix); ok {
		what = kind + " file system"
	}
	s := fmt.Sprintf("kernel %s has no %s, neither as a file nor built in", e.release, what)
	if e.want.For != "" {
		s += ": " + e.want.For + " needs it"
	}
	return s
}

func (e *missingError) Unwrap() error { return ErrNoModule }

// A resolver collects modules. Done holds what is in the list or on its way to
// it, so that a circle in the soft dependencies ends.
type resolver struct {
	tree *Tree
	done map[string]bool
	list []Module
	errs []error
}

// addAny adds the modules of a name or an alias. It returns false if the
// kernel has nothing of that name.
func (r *resolver) addAny(name string) bool {
	key := normal(name)
	if _, ok := r.tree.modules[key]; ok {
		r.add(key)
		return true
	}
	found := r.tree.builtin[key]
	for _, s := range faster[strings.TrimPrefix(name, fsPrefix)] {
		if found { // a file system that is built in
			r.addAny(s)
		}
	}
	for _, module := range r.tree.lookUp(key) {
		if _, ok := r.tree.modules[module]; ok {
			r.add(module)
			found = true
		}
	}
	return found
}

// lookUp returns the modules that answer to an alias.
func (t *Tree) lookUp(key string) []string {
	names := t.exact[key]
	for _, a := range t.aliases {
		if ok, err := path.Match(a.pattern, key); err == nil && ok {
			names = append(slices.Clip(names), a.module)
		}
	}
	return names
}

// add adds a module of the tree after everything it needs.
func (r *resolver) add(name string) {
	if r.done[name] {
		return
	}
	r.done[name] = true
	e := r.tree.modules[name]
	// Soft dependencies first: what they bring is used when a hard
	// dependency is initialised.
	for _, s := range faster[name] {
		r.addAny(s)
	}
	for _, soft := range [][]string{r.tree.soft[name], hidden[name]} {
		for _, s := range soft {
			if !r.tree.builtin[normal(s)] {
				r.addAny(s) // or the kernel does without
			}
		}
	}
	// depmod lists the nearest first; the farthest is loaded first.
	for _, dep := range slices.Backward(e.deps) {
		_, ok := r.tree.modules[dep]
		switch {
		case ok:
			r.add(dep)
		case !r.tree.builtin[dep]:
			r.errs = append(r.errs, fmt.Errorf("kernel module %s of %s needs %s, which modules.dep does not list", name, r.tree.Release(), dep))
		}
	}
	file := e.path
	if !filepath.IsAbs(file) {
		file = filepath.Join(r.tree.dir, file)
	}
	r.list = append(r.list, Module{Name: name, Path: file})
}

// Names returns the names of modules, for messages and tests.
func Names(list []Module) string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = m.Name
	}
	return strings.Join(names, " ")
}
