package mounts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Nix returns the plan as a NixOS module: an attribute set to import beside a
// configuration of one's own. Unlike [Plan.NixJSON] it holds what mvm adds to
// the reference, names disks as [Disk.Device] does, and marks everything that
// boot needs.
func (p Plan) Nix() string {
	boot := p.bootMounts()
	systems := nixSet{}
	for i, m := range p.Mounts {
		fs := nixSystem(m, slices.Concat(m.Options, m.Added), boot[i])
		fs["fsType"] = m.Type
		if m.Bind() {
			fs["fsType"] = "none"
		}
		if m.grows() {
			fs["autoResize"] = true
		}
		systems[m.Where] = fs
	}
	module := nixSet{
		"fileSystems": systems,
		"systemd":     nixSet{"mounts": []any{storeDropIn()}},
	}
	if m, ok := p.storeOverlay(); ok {
		module["boot"] = nixSet{"initrd": nixSet{"systemd": nixInitrd(m, m.AllOptions())}}
	}
	var b strings.Builder
	writeNix(&b, module, "")
	b.WriteString("\n")
	return b.String()
}

// writeNix writes v as a Nix expression, the keys of sets in order.
func writeNix(b *strings.Builder, v any, indent string) {
	deeper := indent + "  "
	switch v := v.(type) {
	case bool:
		fmt.Fprint(b, v)
	case string:
		b.WriteString(nixString(v))
	case []string:
		b.WriteString("[")
		for _, e := range v {
			b.WriteString(" " + nixString(e))
		}
		b.WriteString(" ]")
	case []any:
		b.WriteString("[\n")
		for _, e := range v {
			b.WriteString(deeper)
			writeNix(b, e, deeper)
			b.WriteString("\n")
		}
		b.WriteString(indent + "]")
	case nixSet:
		b.WriteString("{\n")
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b.WriteString(deeper + nixName(k) + " = ")
			writeNix(b, v[k], deeper)
			b.WriteString(";\n")
		}
		b.WriteString(indent + "}")
	}
}

// nixEscapes are those of a Nix string. Only "${" starts an interpolation, so
// only before a brace does the dollar need its backslash.
var nixEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

func nixString(s string) string { return `"` + nixEscapes.Replace(s) + `"` }

// nixName writes a name in a set. A mount point needs quotes, the names of
// options do not.
func nixName(s string) string {
	if strings.Contains(s, "/") {
		return nixString(s)
	}
	return s
}
