package vm

import (
	"fmt"
	"slices"
	"strings"
)

// Check reports what is wrong with the definition by itself: rules that it
// breaks, and keys that this version of mvm does not carry out yet. It looks at
// nothing on the host, so a definition that passes may still name a file that
// is not there. The error is a [*DefinitionError].
func (c *Config) Check() error { return definitionError(c.mistakes()) }

// CheckRules is [Config.Check] without the keys that this version does not
// carry out: for commands that only plan.
func (c *Config) CheckRules() error { return definitionError(c.brokenRules()) }

// CheckBootable reports what a definition that passes [Config.Check] lacks to
// boot a guest. It looks at nothing on the host. The error is a
// [*DefinitionError].
func (c *Config) CheckBootable() error {
	k := &checker{c: c}
	if c.HasStoreDisk() && c.Toplevel == "" && len(c.StorePaths) == 0 && c.ClosureInfo == "" {
		k.wrong("storePaths", "nothing says what to put on the store disk").
			Hint = `set toplevel or storePaths to paths of the store, or closureInfo to a directory`
	}
	if c.Toplevel == "" && len(c.Init) == 0 {
		k.wrong("init", "nothing says which program the guest starts").
			Hint = `set toplevel, or init = "/nix/store/…/bin/program"`
	}
	return definitionError(k.mistakes)
}

// mistakes are all mistakes that need no file to be seen.
func (c *Config) mistakes() []*Mistake {
	found := c.brokenRules()
	for _, m := range c.notCarriedOut() {
		broken := func(b *Mistake) bool { return b.Key == m.Key }
		if !slices.ContainsFunc(found, broken) {
			found = append(found, m)
		}
	}
	return found
}

func (c *Config) brokenRules() []*Mistake {
	k := &checker{c: c}
	k.checkIdentity()
	k.checkBoot()
	k.checkResources()
	k.checkQEMU()
	k.checkGraphics()
	k.checkLifecycle()
	k.checkStore()
	k.checkOverlay()
	k.checkVolumes()
	k.checkShares()
	k.checkMountPoints()
	k.checkMounts()
	k.checkInterfaces()
	k.checkForwards()
	k.checkDevices()
	return k.mistakes
}

// A checker collects the mistakes of one definition.
type checker struct {
	c        *Config
	mistakes []*Mistake
}

// wrong reports a mistake at the value of key. The caller may set its hint.
func (k *checker) wrong(key, format string, args ...any) *Mistake {
	m := k.c.src.mistake(key, false, fmt.Sprintf(format, args...), "")
	k.mistakes = append(k.mistakes, m)
	return m
}

// fails reports why, unless it is empty, and says if it did.
func (k *checker) fails(key, why string) bool {
	if why != "" {
		k.wrong(key, "%s", why)
	}
	return why != ""
}

// required reports whether value is there.
func (k *checker) required(key, value string) bool {
	if value == "" {
		k.wrong(key, "the key is required")
	}
	return value != ""
}

// oneOf reports a value that is not among allowed. An empty value is the
// default, unless the file has it.
func (k *checker) oneOf(key, value string, allowed ...string) bool {
	if slices.Contains(allowed, value) || value == "" && !k.c.src.wrote(key) {
		return true
	}
	k.wrong(key, "%s is not one of %s", quoteShort(value), strings.Join(allowed, ", "))
	return false
}

// within reports a number outside of a range.
func (k *checker) within(key string, n, low, high int, unit string) bool {
	if n >= low && n <= high {
		return true
	}
	if n < low {
		k.wrong(key, "%d is too small; want at least %d%s", n, low, unit)
	} else {
		k.wrong(key, "%d is too large; want at most %d%s", n, high, unit)
	}
	return false
}

// text reports strings that no program could be given.
func (k *checker) text(key string, values ...string) bool {
	for _, v := range values {
		if strings.ContainsRune(v, 0) {
			k.wrong(key, "it has a NUL byte, which no program can be given")
			return false
		}
	}
	return true
}

// seen finds values that may occur only once.
type seen map[string]string

// again reports that another key has the value already.
func (s seen) again(k *checker, key, value, what string) bool {
	first, twice := s[value]
	if twice {
		k.wrong(key, "%s has %s %s too", first, what, quoteShort(value))
		return true
	}
	s[value] = parentKey(key)
	return false
}
