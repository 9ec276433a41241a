package vm

import (
	"errors"
	"strings"

	"github.com/mvmrun/mvm/mounts"
)

// checkMounts finds what package mounts has against the plan that follows from
// the definition. Where a rule about one of its keys is broken already, it has
// nothing to say that is not a consequence.
func (k *checker) checkMounts() {
	for _, m := range k.mistakes {
		for _, part := range []string{"volumes", "shares", "store", "writableStoreOverlay"} {
			if strings.HasPrefix(m.Key, part) {
				return
			}
		}
	}
	_, err := mounts.For(k.c.mountsConfig(anyVirtiofs))
	k.mistakes = append(k.mistakes, k.c.mountMistakes(err)...)
}

// mountPlan returns the plan. The error is a [*DefinitionError].
func (c *Config) mountPlan(host Host) (mounts.Plan, error) {
	plan, err := mounts.For(c.mountsConfig(host))
	return plan, definitionError(c.mountMistakes(err))
}

// mountMistakes are the mistakes that [mounts.For] joined in err, with the keys
// of the definition that they are about.
func (c *Config) mountMistakes(err error) []*Mistake {
	var found []*Mistake
	for _, err := range unjoin(err) {
		key, text, hint := "", err.Error(), ""
		if m := (*mounts.Mistake)(nil); errors.As(err, &m) {
			if key = c.mountKey(m.Subject); key != "" {
				text = m.Text
			}
			hint = m.Hint
		}
		found = append(found, c.src.mistake(key, false, text, hint))
	}
	return found
}

// unjoin undoes [errors.Join].
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// mountKey is the key behind the subject of a [mounts.Mistake], or "".
func (c *Config) mountKey(subject string) string {
	what, name, _ := strings.Cut(subject, " ")
	switch what {
	case "volume":
		for i := range c.Volumes {
			if v := &c.Volumes[i]; v.Image == name {
				return keyAt("volumes", i) + v.identity()
			}
		}
	case "share":
		for i := range c.Shares {
			if c.Shares[i].Tag == name {
				return keyAt("shares", i)
			}
		}
	case "mount":
		for _, m := range c.guestMounts() {
			if m.where == name {
				return m.key
			}
		}
		if name == mounts.StorePath && c.WritableStoreOverlay != "" {
			return "writableStoreOverlay"
		}
	}
	return ""
}

// identity is the key, after a dot, that decides by what serial number the guest
// finds the volume, or "" if that is its position.
func (v *Volume) identity() string {
	switch {
	case v.Serial != "":
		return ".serial"
	case v.Label != "":
		return ".label"
	}
	return ""
}
