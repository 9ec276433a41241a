package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/state"
)

// load finds, reads and checks the definition that arg names. What it has for
// other hypervisors is said once, as a warning.
func (e env) load(arg string) (*vm.Config, string, error) {
	return e.loadChecked(arg, (*vm.Config).Check)
}

// loadPlannable is load for commands that only plan: a definition may use what
// this version does not carry out.
func (e env) loadPlannable(arg string) (*vm.Config, string, error) {
	return e.loadChecked(arg, (*vm.Config).CheckRules)
}

func (e env) loadChecked(arg string, check func(*vm.Config) error) (*vm.Config, string, error) {
	file, err := vm.Find(arg, e.definitionDirs())
	if err != nil {
		return nil, "", err
	}
	c, err := vm.Load(file)
	if err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			text := "cannot be read: " + pe.Err.Error()
			if errors.Is(err, fs.ErrNotExist) {
				text = "does not exist"
			}
			err = &vm.FindError{Name: arg, Text: text, Hint: "give the name of a definition or its file"}
		}
		return nil, file, err
	}
	if err := check(c); err != nil {
		return nil, file, err
	}
	if ignored := c.Ignored(); len(ignored) > 0 {
		warn(e.stderr, "%s: ignored, since mvm drives QEMU only: %s", file, strings.Join(ignored, ", "))
	}
	return c, file, nil
}

// loadBootable is load for a machine that is to run.
func (e env) loadBootable(arg string) (*vm.Config, string, error) {
	c, file, err := e.load(arg)
	if err != nil {
		return nil, file, err
	}
	return c, file, c.CheckBootable()
}

// definitionDirs are where a machine's name is looked up.
func (e env) definitionDirs() []string {
	dirs := []string{"."}
	if d := e.xdg("XDG_CONFIG_HOME", ".config"); d != "" {
		dirs = append(dirs, filepath.Join(d, "mvm"))
	}
	return append(dirs, "/etc/mvm")
}

// xdg is one of the directories of the XDG base directory specification, or ""
// if there is no home to put it in.
func (e env) xdg(name, underHome string) string {
	if d := e.getenv(name); filepath.IsAbs(d) {
		return d
	}
	if home := e.getenv("HOME"); home != "" && underHome != "" {
		return filepath.Join(home, underHome)
	}
	return ""
}

// systemDirs are root's.
var systemDirs = state.Dirs{State: "/var/lib/mvm", Runtime: "/run/mvm", Cache: "/var/cache/mvm"}

// dirs are where machines live: MVM_STATE_DIR, MVM_RUNTIME_DIR and
// MVM_CACHE_DIR, or else the system's directories for root and the XDG ones for
// everybody else.
func (e env) dirs() (state.Dirs, error) {
	d := systemDirs
	if os.Getuid() != 0 {
		d = state.Dirs{
			State:   under(e.xdg("XDG_STATE_HOME", ".local/state")),
			Runtime: under(e.xdg("XDG_RUNTIME_DIR", "")),
			Cache:   under(e.xdg("XDG_CACHE_HOME", ".cache")),
		}
	}
	for _, o := range []struct {
		dir            *string
		name, fallback string
	}{
		{&d.State, "MVM_STATE_DIR", "XDG_STATE_HOME"},
		{&d.Runtime, "MVM_RUNTIME_DIR", "XDG_RUNTIME_DIR"},
		{&d.Cache, "MVM_CACHE_DIR", "XDG_CACHE_HOME"},
	} {
		if v := e.getenv(o.name); v != "" {
			abs, err := filepath.Abs(v)
			if err != nil {
				return d, err
			}
			*o.dir = abs
		}
		if *o.dir == "" {
			return d, &vm.HostError{
				Op: "find a directory for machines", Err: fmt.Errorf("neither %s nor %s is set", o.name, o.fallback),
				Hint: "log in with a session that sets " + o.fallback + ", or set " + o.name,
			}
		}
	}
	return d, nil
}

func under(dir string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "mvm")
}

// place is where the machine that arg names lives. Its definition is read only
// when arg is a file.
func (e env) place(arg string) (state.Machine, error) {
	dirs, err := e.dirs()
	if err != nil {
		return state.Machine{}, err
	}
	name := arg
	if strings.ContainsAny(arg, "/.") {
		c, _, err := e.load(arg)
		if err != nil {
			return state.Machine{}, err
		}
		name = c.MachineName()
	} else if err := vm.CheckName(arg); err != nil {
		return state.Machine{}, err // it is to be part of paths
	}
	return dirs.Machine(name), nil
}
