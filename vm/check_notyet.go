package vm

import "strings"

// notYet lists what a definition may say and this version does not carry out.
// A line is removed when its key is. The first key that a definition uses of a
// line is reported; in a key with "[]", i is the element of the list.
var notYet = []struct {
	key  string
	used func(c *Config, i int) bool
}{
	{"graphics.vulkan", func(c *Config, _ int) bool { return c.Graphics.Vulkan != "" }},
}

// notCarriedOut returns a mistake for each key of notYet that is used.
func (c *Config) notCarriedOut() []*Mistake {
	var found []*Mistake
	for _, n := range notYet {
		list, rest, isList := strings.Cut(n.key, "[]")
		count := 1
		if isList {
			count = map[string]int{
				"volumes": len(c.Volumes), "shares": len(c.Shares), "interfaces": len(c.Interfaces),
				"forwardPorts": len(c.ForwardPorts), "devices": len(c.Devices),
			}[list]
		}
		for i := range count {
			if !n.used(c, i) {
				continue
			}
			key := n.key
			if isList {
				key = keyAt(list, i) + rest
			}
			m := c.src.mistake(key, false, "this is not carried out by this version of mvm", "")
			m.NotYet = true
			found = append(found, m)
		}
	}
	return found
}
