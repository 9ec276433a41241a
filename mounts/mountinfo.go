package mounts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A MountInfo is one line of /proc/PID/mountinfo, unescaped; see
// proc_pid_mountinfo(5). Paths are those of the process that it is about.
type MountInfo struct {
	ID, Parent int
	Device     string   // major:minor of the file system
	Root       string   // what of the file system is mounted; "/" is all of it
	Where      string   // the mount point
	Options    []string // of this mount
	Type       string
	Source     string
	Super      []string // options of the file system
}

// String returns the mount as mount(8) lists it.
func (m MountInfo) String() string {
	mode := "rw"
	if m.readOnly() {
		mode = "ro"
	}
	options := []string{mode}
	for _, o := range slices.Concat(m.Options, m.Super) {
		if o != "rw" && o != "ro" {
			options = append(options, o)
		}
	}
	return fmt.Sprintf("%s on %s type %s (%s)", m.Source, m.Where, m.Type, strings.Join(options, ","))
}

// readOnly reports whether nothing can be written by way of this mount, be it
// for the mount's sake or for the file system's.
func (m MountInfo) readOnly() bool {
	return slices.Contains(m.Options, "ro") || slices.Contains(m.Super, "ro")
}

// ParseMountInfo reads the text of /proc/PID/mountinfo. The text may come from
// a guest that lies: it is parsed line by line, and the first line that the
// kernel would not have written is an error.
func ParseMountInfo(text string) ([]MountInfo, error) {
	var all []MountInfo
	n := 0
	for line := range strings.Lines(text) {
		n++
		m, err := parseMountInfoLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %w", n, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMountInfoLine splits at single spaces: an empty source is an empty
// field, and no field holds a space that is not escaped.
func parseMountInfoLine(line string) (MountInfo, error) {
	f := strings.Split(line, " ")
	// Optional fields, such as "shared:1", end with a hyphen.
	sep := 6
	for sep < len(f) && f[sep] != "-" {
		sep++
	}
	if len(f) < sep+4 {
		return MountInfo{}, fmt.Errorf("%q has too few fields", line)
	}
	id, err := strconv.Atoi(f[0])
	if err != nil {
		return MountInfo{}, fmt.Errorf("mount ID %q is not a number", f[0])
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return MountInfo{}, fmt.Errorf("parent ID %q is not a number", f[1])
	}
	return MountInfo{
		ID: id, Parent: parent, Device: f[2],
		Root: unescapeField(f[3]), Where: unescapeField(f[4]),
		Options: unescapeOptions(f[5]),
		Type:    unescapeField(f[sep+1]), Source: unescapeField(f[sep+2]),
		Super: unescapeOptions(f[sep+3]),
	}, nil
}

// unescapeOptions splits first: a comma inside an option is escaped.
func unescapeOptions(s string) []string {
	options := strings.Split(s, ",")
	for i, o := range options {
		options[i] = unescapeField(o)
	}
	return options
}

// A mountTree finds what a path leads to, as the kernel does.
type mountTree struct {
	root     *MountInfo
	children map[int][]*MountInfo
}

func newMountTree(all []MountInfo) mountTree {
	t := mountTree{children: make(map[int][]*MountInfo, len(all))}
	ids := make(map[int]bool, len(all))
	for _, m := range all {
		ids[m.ID] = true
	}
	for i := range all {
		m := &all[i]
		// The root's parent is itself, or out of the process's reach.
		if m.Where == "/" && (m.Parent == m.ID || !ids[m.Parent]) {
			t.root = m
			continue
		}
		t.children[m.Parent] = append(t.children[m.Parent], m)
	}
	return t
}

// at returns the mount that path p is on, nil if there is none. The way leads
// from the root through the mounts on it, always to the nearest mount point, so
// what lies below a mount point that was covered later is not found.
func (t mountTree) at(p string) *MountInfo {
	m := t.root
	if m == nil {
		return nil
	}
	// Every mount is passed once, even if a guest sends a loop.
	for passed := map[int]bool{}; !passed[m.ID]; {
		passed[m.ID] = true
		next := m
		for _, c := range t.children[m.ID] {
			if within(p, c.Where) && within(c.Where, m.Where) && (next == m || len(c.Where) <= len(next.Where)) {
				next = c
			}
		}
		m = next
	}
	return m
}
