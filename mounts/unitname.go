package mounts

import (
	"fmt"
	"path"
	"strings"
)

// maxUnitName is the longest name of a unit in bytes; a longer one is also too
// long for the name of a file.
const maxUnitName = 255

// UnitName returns the name that systemd gives the unit of a mount point, as
// "systemd-escape --path --suffix=mount" does: "/nix/.ro-store" is
// "nix-.ro\x2dstore.mount", and "/" is "-.mount".
func UnitName(where string) string { return escapePath(where) + ".mount" }

// escapePath turns a path into a part of a unit's name.
func escapePath(p string) string {
	p = strings.Trim(path.Clean("/"+p), "/")
	if p == "" {
		return "-"
	}
	var b strings.Builder
	for i, c := range []byte(p) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i > 0, c == ':', c == '_',
			'0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}
