package vm

import (
	"reflect"
	"slices"
	"strings"
)

// ignoredKeys are options of microvm.nix that are for other hypervisors, for
// the guest's NixOS or for the Nix side of the host. A definition that Nix
// exported carries them, so they are accepted whatever they hold, and have no
// effect.
var ignoredKeys = map[string]bool{
	"alioth":                 true,
	"binScripts":             true,
	"bootDisk":               true,
	"cloud-hypervisor":       true,
	"crosvm":                 true,
	"declaredRunner":         true,
	"deploy":                 true,
	"devices[].crosvm":       true,
	"firecracker":            true,
	"graphics.crosvmPackage": true,
	"graphics.socket":        true,
	"guest":                  true,
	"kvmtool":                true,
	"optimize":               true,
	"runner":                 true,
	"storeDisk":              true,
	"stratovirt":             true,
	"systemSymlink":          true,
	"vfkit":                  true,
	"vmHostPackages":         true,
	"vsock.ssh":              true,
}

// Ignored returns the keys of the file that were accepted and have no effect
// with mvm, sorted.
func (c *Config) Ignored() []string {
	if c.src == nil {
		return nil
	}
	return c.src.ignored
}

// isIgnored reports whether key is one of ignoredKeys.
func isIgnored(key string) bool { return ignoredKeys[anyIndex(key)] }

// anyIndex replaces each index in a key by "[]".
func anyIndex(key string) string {
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		b.WriteByte(key[i])
		if key[i] == '[' {
			for i+1 < len(key) && key[i+1] != ']' {
				i++
			}
		}
	}
	return b.String()
}

// otherNames are what people who know other tools call a key.
var otherNames = map[string]string{
	"append": "kernelParams", "cmdline": "kernelParams", "kernelArgs": "kernelParams",
	"balloonMem": "balloon", "cores": "vcpu", "cpus": "vcpu", "disks": "volumes", "drives": "volumes",
	"hostName": "name", "initrd": "initrdPath", "macAddress": "mac", "memory": "mem", "networks": "interfaces",
	"nics": "interfaces", "ports": "forwardPorts", "protocol": "proto", "ram": "mem", "store": "storePaths",
}

// unknownKey says that a table has no key of this name, and what its writer may
// have meant. It also returns the key of the same table that was meant, or "".
func unknownKey(table, name string, names []string) (text, hint, meant string) {
	text = "unknown key"
	if table == "" && name == "microvm" {
		return text, "write the options of microvm without that table around them", ""
	}
	for _, n := range names {
		if squash(n) == squash(name) {
			return text, "did you mean " + n + "?", n
		}
	}
	if table == "" {
		if key := elsewhere(name); key != "" {
			return text, "did you mean " + key + "?", ""
		}
	}
	if meant = nearest(name, names); meant != "" {
		return text, "did you mean " + meant + "?", meant
	}
	if len(names) <= 8 {
		hint = "here are known: " + strings.Join(names, ", ")
	}
	return text, hint, ""
}

// nearest returns the name that was probably meant: one with few slips in it, or
// what other tools call by another.
func nearest(name string, names []string) string {
	best, meant := 3, "" // more than two slips are another word
	try := func(spelt, n string) {
		if d := slips(squash(spelt), squash(name)); d < best && d*3 <= len(spelt) {
			best, meant = d, n
		}
	}
	for _, n := range names {
		try(n, n)
	}
	for _, other := range sortedKeys(otherNames) {
		if n := otherNames[other]; slices.Contains(names, n) {
			try(other, n)
		}
	}
	return meant
}

// elsewhere returns the keys of other tables that have this name, as a choice.
func elsewhere(name string) string {
	var found []string
	for _, key := range definitionKeys(reflect.TypeFor[Config](), "") {
		if strings.HasSuffix(key, "."+name) {
			found = append(found, key)
		}
	}
	if len(found) > 3 {
		return "" // too many to help
	}
	return strings.Join(found, " or ")
}

// squash removes what people spell in different ways.
func squash(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))
}

// slips counts the letters to insert, remove, replace or swap with their
// neighbour to get from a to b.
func slips(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // no key is that long
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], before[j-1]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
