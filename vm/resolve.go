package vm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/vm/kernel"
)

// A HostError is something that this host lacks, or has in the wrong shape.
type HostError struct {
	Op   string // what was attempted: "find a kernel"
	Err  error  // why it did not work
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// Unresolved is the image as the definition alone tells it. It looks at nothing,
// so it lacks the parameters and modules that come with a closure.
func (c *Config) Unresolved() Image {
	img := Image{Kernel: c.Path(c.Kernel), Modules: c.Path(c.Modules), Init: c.Init}
	if c.Toplevel != "" {
		top := c.Path(c.Toplevel)
		img.Kernel = cmp.Or(img.Kernel, filepath.Join(top, "kernel"))
		if len(img.Init) == 0 && filepath.Dir(top) == mounts.StorePath {
			img.Init = []string{filepath.Join(top, "init")}
		}
	}
	return img
}

// Resolve finds the files that the definition names: the kernel, its modules
// and parameters, and init. What is missing or unreadable is reported all at
// once.
func (c *Config) Resolve() (Image, error) {
	img := Image{Init: c.Init}
	var wrong *multierror.Error
	note := func(err error) { wrong = multierror.Append(wrong, err) }

	top, err := c.toplevel()
	if err != nil {
		return img, err
	}
	if err := c.resolveKernel(&img, top); err != nil {
		note(err)
	}
	if err := c.resolveModules(&img, top); err != nil {
		note(err)
	}
	if top != "" {
		if img.Params, err = readParams(filepath.Join(top, "kernel-params")); err != nil {
			note(err)
		}
		if len(img.Init) == 0 {
			img.Init = []string{filepath.Join(mounts.StorePath, filepath.Base(top), "init")}
		}
	}
	if len(img.Init) == 0 {
		note(&HostError{
			Op: "find init", Err: errors.New("the definition names neither toplevel nor init"),
			Hint: `set toplevel = "/nix/store/…-system", or init = "/nix/store/…/bin/program"`,
		})
	}
	if wrong != nil {
		wrong.ErrorFormat = listErrors
	}
	return img, wrong.ErrorOrNil()
}

// toplevel is the store path that Toplevel leads to, as a path on the host, or
// "" without one.
func (c *Config) toplevel() (string, error) {
	if c.Toplevel == "" {
		return "", nil
	}
	top, err := c.follow(c.Path(c.Toplevel))
	if err != nil {
		return "", &HostError{
			Op: "toplevel " + c.Path(c.Toplevel), Err: cause(err),
			Hint: "build the system first, or correct toplevel in the definition",
		}
	}
	if dir := filepath.Dir(top); dir != c.HostStoreDir() {
		return "", &HostError{
			Op: "toplevel " + top, Err: fmt.Errorf("it is not a path of the store %s", c.HostStoreDir()),
			Hint: "set toplevel to a store path or a link to one, and storeDir if the store is elsewhere",
		}
	}
	return top, nil
}

// follow resolves links as the kernel does, but takes a link to /nix/store for
// one into the store directory of this host.
func (c *Config) follow(path string) (string, error) {
	// 40 is the kernel's own limit (path_resolution(7)).
	for range 40 {
		path = c.onHost(path)
		fi, err := os.Lstat(path)
		if err != nil {
			return "", err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return "", &fs.PathError{Op: "follow", Path: path, Err: errors.New("too many levels of symbolic links")}
}

// onHost maps a path of the guest's store to where this host keeps it. A path
// that is not there but is where it says it is stays as it is: with a foreign
// store, a kernel may still be one of the host's own.
func (c *Config) onHost(path string) string {
	rest, ok := strings.CutPrefix(path, mounts.StorePath+"/")
	if !ok {
		return path
	}
	mapped := filepath.Join(c.HostStoreDir(), rest)
	if !exists(mapped) && exists(path) {
		return path
	}
	return mapped
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (c *Config) resolveKernel(img *Image, top string) error {
	const hint = "set kernel in the definition to a kernel image that this user can read"
	path := c.Path(c.Kernel)
	switch {
	case path != "":
	case top != "":
		path = filepath.Join(top, "kernel")
	default:
		var err error
		if path, err = newestKernel("/boot"); err != nil {
			return &HostError{Op: "find a kernel", Err: err, Hint: hint}
		}
	}
	path, err := c.follow(path)
	if err != nil {
		return &HostError{Op: "kernel", Err: err, Hint: hint}
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		path = imageIn(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return &HostError{Op: "kernel", Err: err, Hint: hint}
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() == 0 {
		return &HostError{Op: "kernel " + path, Err: errors.New("not a kernel image"), Hint: hint}
	}
	img.Kernel = path
	if img.Arch, err = kernel.Arch(path); err != nil {
		return &HostError{Op: "kernel", Err: err, Hint: hint}
	}
	return c.checkArch(img)
}

// checkArch refuses a kernel that the machine cannot run. The kernel decides
// what machine it is if the definition does not.
func (c *Config) checkArch(img *Image) error {
	machine := c.MachineType(img.Arch)
	runs, other := "amd64", "virt"
	if strings.HasPrefix(machine, "virt") {
		runs, other = "arm64", "microvm"
	}
	if img.Arch == "" || img.Arch == runs {
		return nil
	}
	return &HostError{
		Op: "kernel " + img.Kernel, Err: fmt.Errorf("it is for %s, and the machine %s is for %s", img.Arch, machine, runs),
		Hint: fmt.Sprintf("leave qemu.machine out, or set it to %q", other),
	}
}

// imageIn is the image in the directory of a NixOS kernel package: what it is
// called says what it is for.
func imageIn(dir string) string {
	if image := filepath.Join(dir, "Image"); exists(image) {
		return image
	}
	return filepath.Join(dir, "bzImage")
}

// newestKernel returns the kernel in dir that was installed last.
func newestKernel(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "vmlinuz-*"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("the definition names none and there is no %s/vmlinuz-*", dir)
	}
	when := func(path string) int64 {
		if fi, err := os.Stat(path); err == nil {
			return fi.ModTime().UnixNano()
		}
		return 0
	}
	return slices.MaxFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(when(a), when(b)), cmp.Compare(a, b))
	}), nil
}

// resolveModules finds the directory with modules.dep. A kernel without one is
// taken to need none.
func (c *Config) resolveModules(img *Image, top string) error {
	if c.Modules != "" {
		dir, err := c.moduleDir(c.Path(c.Modules))
		if err == nil && dir == "" {
			err = errors.New("there is no modules.dep in it")
		}
		if err != nil {
			return &HostError{Op: "modules " + c.Path(c.Modules), Err: cause(err), Hint: "set modules to the directory that holds modules.dep"}
		}
		img.Modules = dir
		return nil
	}
	var candidates []string
	if c.Kernel == "" && top != "" {
		candidates = append(candidates, filepath.Join(top, "kernel-modules"))
	}
	if img.Kernel != "" {
		dir, base := filepath.Split(img.Kernel)
		candidates = append(candidates, dir)
		if version, ok := strings.CutPrefix(base, "vmlinuz-"); ok {
			candidates = append(candidates,
				filepath.Join(dir, "..", "lib/modules", version), filepath.Join(dir, "..", "usr/lib/modules", version))
		}
	}
	for _, path := range candidates {
		dir, err := c.moduleDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir != "" {
			img.Modules = dir
			return nil
		}
	}
	return nil
}

// moduleDir finds modules.dep in path, or in path/lib/modules/VERSION. It
// returns "" if path has none.
func (c *Config) moduleDir(path string) (string, error) {
	path, err := c.follow(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(path, "modules.dep")); err == nil {
		return path, nil
	}
	found, err := filepath.Glob(filepath.Join(path, "lib/modules/*/modules.dep"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	return filepath.Dir(slices.Max(found)), nil
}

// readParams reads a NixOS kernel-params file: words between white space. A
// system without one has no parameters.
func readParams(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(b)), nil
}

// cause strips the path from an error whose path is said already.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// listErrors prints several errors one to a line, without the count and the
// blank lines that go-multierror adds by default.
func listErrors(errs []error) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	var b strings.Builder
	for i, err := range errs {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}
