package mounts

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Difference is one mount that a guest has not as it was planned.
type Difference struct {
	Where string // the mount point in the plan
	Text  string // what is wrong, after the name of the mount point: "is not mounted"
	Want  string // the mount in the plan
	Got   string // what the guest has there, "" for nothing
}

// String returns the difference with both sides, on three lines.
func (d Difference) String() string {
	got := d.Got
	if got == "" {
		got = "nothing"
	}
	return fmt.Sprintf("%s %s\n  planned: %s\n  mounted: %s", d.Where, d.Text, d.Want, got)
}

// String returns the mount in the words of mount(8).
func (m Mount) String() string {
	typ := m.Type
	if m.Bind() {
		typ = "none"
	}
	return fmt.Sprintf("%s on %s type %s (%s)", m.source(), m.Where, typ, strings.Join(m.AllOptions(), ","))
}

// Compare holds the plan against what a guest has mounted, and returns the
// differences in the order of the plan.
//
// What is beyond the plan is none: further mounts, options that the kernel adds
// or spells in its own way. A disk may have any name. The store may be read-only
// where the plan lets it be written: NixOS protects it so after it has booted.
func (p Plan) Compare(actual []MountInfo) []Difference {
	c := comparison{tree: newMountTree(actual), all: actual, devices: map[string]string{}}
	for _, m := range p.Mounts {
		got, text := c.mount(m)
		if text == "" {
			continue
		}
		d := Difference{Where: m.Where, Text: text, Want: m.String()}
		if got != nil {
			d.Got = got.String()
		}
		c.found = append(c.found, d)
	}
	return c.found
}

type comparison struct {
	tree    mountTree
	all     []MountInfo
	devices map[string]string // device to the mount point of the planned disk on it
	found   []Difference
}

// mount returns what is mounted in place of m, and what is wrong with it.
func (c *comparison) mount(m Mount) (*MountInfo, string) {
	got := c.tree.at(m.Where)
	if got == nil || got.Where != m.Where {
		if got != nil && slices.ContainsFunc(c.all, func(a MountInfo) bool { return a.Where == m.Where }) {
			return got, "is hidden by a mount on " + got.Where
		}
		return nil, "is not mounted"
	}
	text := ""
	if m.Bind() {
		text = c.bind(m, got)
	} else {
		text = c.fileSystem(m, got)
	}
	if text == "" {
		text = compareOptions(m, got)
	} else if c.below(m, got) {
		text = "is hidden by a mount on the same place"
	}
	return got, text
}

// below reports whether another mount on the place of m is what was planned.
func (c *comparison) below(m Mount, got *MountInfo) bool {
	return slices.ContainsFunc(c.all, func(a MountInfo) bool {
		return a.Where == m.Where && a.ID != got.ID && !m.Bind() && a.Type == m.Type && (m.Disk != nil || a.Source == m.What)
	})
}

func (c *comparison) fileSystem(m Mount, got *MountInfo) string {
	switch {
	case got.Type != m.Type:
		return fmt.Sprintf("is of type %s, not %s", got.Type, m.Type)
	case got.Root != "/" && m.Type != "btrfs": // whose default may be a subvolume
		return fmt.Sprintf("shows only %s of its file system", got.Root)
	case m.Disk == nil && got.Source != m.What:
		return fmt.Sprintf("is mounted from %q, not %q", got.Source, m.What)
	case m.Disk != nil:
		if other, taken := c.devices[got.Device]; taken {
			return "is mounted from the same disk as " + other
		}
		c.devices[got.Device] = m.Where
	case m.Type == "overlay":
		return compareOverlay(m, got)
	}
	return ""
}

// bind compares the directory that is shown with the one that was to be bound.
func (c *comparison) bind(m Mount, got *MountInfo) string {
	from := c.tree.at(m.What)
	if from == nil {
		return "is bound from nowhere"
	}
	rel := strings.TrimPrefix(m.What, strings.TrimSuffix(from.Where, "/"))
	if want := path.Join(from.Root, rel); got.Device != from.Device || got.Root != want {
		return fmt.Sprintf("shows %s of %s, not %s", got.Root, got.Source, m.What)
	}
	return ""
}

// compareOverlay compares the directories. An overlay that was made before the
// guest changed its root has them with the old root in front.
func compareOverlay(m Mount, got *MountInfo) string {
	for _, key := range []string{"lowerdir", "upperdir", "workdir"} {
		want, planned := m.option(key)
		if !planned {
			continue
		}
		has := strings.Join(superValues(got, key), ":")
		if has == "" {
			return "has no " + key
		}
		if !sameDirs(has, want) {
			return fmt.Sprintf("has %s %s, not %s", key, has, want)
		}
	}
	if slices.Contains(m.AllOptions(), "userxattr") && !slices.Contains(got.Super, "userxattr") {
		return "lacks the option userxattr"
	}
	return ""
}

// superValues returns the values of an option of the file system. Lower
// directories that were given one by one are shown as "lowerdir+=".
func superValues(got *MountInfo, key string) []string {
	var values []string
	for _, o := range got.Super {
		if k, v, ok := strings.Cut(o, "="); ok && (k == key || k == key+"+") {
			values = append(values, v)
		}
	}
	return values
}

func sameDirs(has, want string) bool {
	hs, ws := strings.Split(has, ":"), strings.Split(want, ":")
	return slices.EqualFunc(hs, ws, strings.HasSuffix)
}

// compareOptions compares what the kernel shows as it was given.
func compareOptions(m Mount, got *MountInfo) string {
	readOnlyTypes := []string{"erofs", "squashfs", "iso9660"}
	switch ro := got.readOnly(); {
	case m.ReadOnly() && !ro:
		return "can be written, but is to be read-only"
	case !m.ReadOnly() && ro && m.Where != StorePath && !slices.Contains(readOnlyTypes, m.Type):
		return "is read-only, but is to be writable"
	}
	for _, o := range []string{"nosuid", "nodev", "noexec", "noatime"} {
		if slices.Contains(m.AllOptions(), o) && !slices.Contains(got.Options, o) {
			return "lacks the option " + o
		}
	}
	return ""
}
