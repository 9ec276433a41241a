package mounts

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Fstab returns the plan as fstab(5) for the running guest. What fstab cannot
// say, the directories that an overlay needs, is in comments. Sources of disks
// are those of [Disk.Device].
func (p Plan) Fstab() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 1, 1, ' ', 0)
	for _, m := range p.Mounts {
		if len(m.Dirs) > 0 {
			w.Flush() // keeps the comment out of the columns
			fmt.Fprintf(&out, "# The next mount needs %s.\n", strings.Join(escapeAll(m.Dirs), " "))
		}
		typ := m.Type
		if m.Bind() {
			typ = "none"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s 0 %d\n",
			escapeField(m.source()), escapeField(m.Where), typ, escapeField(fstabOptions(m)), m.fsckPass())
	}
	w.Flush()
	return out.String()
}

// fstabOptions are the options as one field, what the mount depends on
// included. fstab(5) has no escape for a comma, which is why none is in an
// option or in Depends; see [Plan.Check].
func fstabOptions(m Mount) string {
	all := m.AllOptions()
	if m.grows() {
		all = append(all, "x-systemd.growfs")
	}
	for _, d := range m.Depends {
		all = append(all, "x-systemd.requires-mounts-for="+d)
	}
	if len(all) == 0 {
		return "defaults"
	}
	return strings.Join(all, ",")
}

// fsckPass is the last column of fstab: 1 for the root, 2 for other file
// systems, 0 for those that are never checked.
func (m Mount) fsckPass() int {
	// XFS and btrfs have a fsck that does nothing.
	checked := []string{"ext2", "ext3", "ext4", "vfat"}
	switch {
	case m.Disk == nil || m.NoCheck || m.ReadOnly() || !slices.Contains(checked, m.Type):
		return 0
	case m.Where == "/":
		return 1
	}
	return 2
}

// grows reports whether systemd and NixOS can be told to grow the file system.
func (m Mount) grows() bool {
	return m.Grow && slices.Contains([]string{"ext3", "ext4", "xfs", "btrfs"}, m.Type)
}

// escapeField writes a field of fstab as getmntent(3) reads it back, which is
// also how the kernel writes mountinfo. The number sign is escaped as well: at
// the start of a line it would make a comment.
func escapeField(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch c {
		case ' ', '\t', '\n', '\\', '#':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func escapeAll(fields []string) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = escapeField(f)
	}
	return out
}

// unescapeField undoes escapeField: a backslash and three octal digits are a
// byte, any other backslash is itself.
func unescapeField(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c, ok := octal(s[i:]); ok {
			b = append(b, c)
			i += 3
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// octal reads the escape that s begins with.
func octal(s string) (byte, bool) {
	if len(s) < 4 || s[0] != '\\' || s[1] > '3' {
		return 0, false
	}
	var n byte
	for _, c := range []byte(s[1:4]) {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | (c - '0')
	}
	return n, true
}
