package mounts

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxData is how many bytes of options the kernel takes in one mount call: a
// page with its final NUL.
const maxData = 4095

// maxPath is the kernel's limit of a path without its final NUL.
const maxPath = 4095

// labelMax is how many bytes of label the superblock of a type holds.
var labelMax = map[string]int{
	"btrfs": 255, "erofs": 16, "ext2": 16, "ext3": 16, "ext4": 16, "vfat": 11, "xfs": 12,
}

// Check returns everything about the plan that would fail in a guest, or that a
// rendering could not express, as joined [*Mistake] values. A plan that passes
// can still fail for reasons that only the guest knows, such as a missing disk.
func (p Plan) Check() error {
	found := p.check()
	found = append(found, p.checkDisks()...)
	return errors.Join(found...)
}

// check is Check without the comparison of disks, which For makes for all
// volumes, mounted or not.
func (p Plan) check() mistakes {
	var found mistakes
	if p.Version != Version {
		found.add("mount plan", "it has version %d, this program knows %d", p.Version, Version)
	}
	c := checker{ms: p.Mounts, at: newIndex(p.Mounts)}
	if _, ok := c.at["/"]; !ok {
		found.add("mount /", "nothing is mounted there").Hint = "mount a tmpfs or a volume on /"
	}
	for i := range c.ms {
		c.mount(i)
	}
	return append(found, c.found...)
}

// A checker looks at one mount after the other.
type checker struct {
	ms    []Mount
	at    index
	found mistakes
}

func (c *checker) mount(i int) {
	m := c.ms[i]
	wrong := func(format string, args ...any) *Mistake {
		return c.found.add("mount "+m.Where, format, args...)
	}
	before := len(c.found)
	c.path(i, "its mount point", m.Where)
	if name := UnitName(m.Where); len(name) > maxUnitName {
		wrong("its mount point needs a systemd unit with a name of %d bytes, at most %d are possible", len(name), maxUnitName)
	}
	for _, d := range m.Depends {
		c.path(i, "a path it depends on", d)
		if strings.Contains(d, ",") {
			wrong("a path it depends on, %q, has a comma, which ends an option in fstab", d)
		}
	}
	for _, d := range m.Dirs {
		c.path(i, "a directory to make", d)
	}
	c.source(m, wrong)
	c.options(m, wrong)
	if first := c.at[m.Where]; first != i {
		wrong("it is mounted twice")
		return
	}
	if len(c.found) > before {
		return // what follows would only repeat it in other words
	}
	c.order(i, wrong)
	if len(c.found) > before {
		return
	}
	if m.Bind() {
		c.exists(i, "the directory to bind", m.What, wrong)
	}
	if m.Type == "overlay" {
		c.overlay(i, wrong)
	}
}

// path checks the form of a path of mount i.
func (c *checker) path(i int, what, p string) {
	if wrong := checkPath(p); wrong != "" {
		c.found.add("mount "+c.ms[i].Where, "%s, %q, %s", what, p, wrong)
	}
}

// checkPath returns what is wrong with a path in the guest, or "".
func checkPath(p string) string {
	switch {
	case !path.IsAbs(p):
		return "is not absolute"
	case path.Clean(p) != p:
		return fmt.Sprintf("is not clean, write %q", path.Clean(p))
	case len(p) > maxPath:
		return fmt.Sprintf("has %d bytes, the kernel takes %d", len(p), maxPath)
	}
	return checkText(p)
}

// checkText returns why neither fstab nor a unit file could hold s, or "".
func checkText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has a control character"
	case strings.TrimSpace(s) != s:
		return "begins or ends with a space"
	case strings.HasSuffix(s, `\`):
		return "ends with a backslash"
	}
	return ""
}

// source checks what is mounted and its type.
func (c *checker) source(m Mount, wrong func(string, ...any) *Mistake) {
	typeRune := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
	}
	switch {
	case m.Bind() && m.Type != "":
		wrong("a bind mount has no type, this one has %q", m.Type)
	case m.Bind() && m.Disk == nil:
		if text := checkPath(m.What); text != "" {
			wrong("the directory to bind, %q, %s", m.What, text)
		}
	case !m.Bind() && m.Type == "":
		wrong("it has no type")
	case strings.ContainsFunc(m.Type, func(r rune) bool { return !typeRune(r) }):
		wrong("the kernel has no type %q", m.Type)
	}
	switch {
	case m.Disk != nil && m.What != "":
		wrong("it has two sources, a disk and %q", m.What)
	case m.Disk != nil && m.Bind():
		wrong("a disk cannot be bound")
	case m.Disk != nil:
		checkDisk(m, wrong)
	case m.Bind():
		// Its source is a path, and was looked at above.
	case m.What == "":
		wrong("it has no source")
	default:
		if text := checkText(m.What); text != "" {
			wrong("its source, %q, %s", m.What, text)
		}
	}
}

func checkDisk(m Mount, wrong func(string, ...any) *Mistake) {
	d := m.Disk
	if d.Serial == "" && d.Label == "" && d.Position < 0 {
		wrong("its disk has no serial, no label and no position to be found by")
	}
	if text := checkSerial(d.Serial); text != "" {
		wrong("%s", text)
	}
	if text := checkText(d.Label); text != "" {
		wrong("its label, %q, %s", d.Label, text)
	} else if strings.Contains(d.Label, "/") {
		wrong("its label, %q, has a slash", d.Label)
	}
	if most, known := labelMax[m.Type]; known && len(d.Label) > most {
		wrong("label %q has %d bytes, %s has room for %d", d.Label, len(d.Label), m.Type, most)
	}
}

// options checks that each option survives the way through fstab, a unit file
// and libmount, which takes a quotation mark for the start of a value that may
// hold commas and a backslash for the escape of one.
func (c *checker) options(m Mount, wrong func(string, ...any) *Mistake) {
	all := m.AllOptions()
	for _, o := range all {
		text := checkText(o)
		switch {
		case o == "":
			wrong("one of its options is empty")
		case text != "":
			wrong("its option %q %s", o, text)
		case strings.ContainsAny(o, `"\`):
			wrong("its option %q has a quotation mark or a backslash", o)
		}
	}
	if n := len(strings.Join(all, ",")); n > maxData {
		wrong("its options have %d bytes, the kernel takes %d", n, maxData)
	}
}

// order checks that everything mount i needs comes before it.
func (c *checker) order(i int, wrong func(string, ...any) *Mistake) {
	for _, j := range c.at.needs(c.ms, i) {
		if j < i {
			continue
		}
		if loop := c.at.cycle(c.ms, i); loop != nil {
			wrong("it needs itself: %s", strings.Join(loop, " needs "))
			return
		}
		wrong("it comes before %s, which it needs", c.ms[j].Where)
	}
}

// exists checks that dir can be there when mount i is made.
func (c *checker) exists(i int, what, dir string, wrong func(string, ...any) *Mistake) {
	on := c.at.on(dir)
	if len(on) == 0 {
		wrong("%s, %s, lies on nothing", what, dir)
		return
	}
	j := on[0]
	switch {
	case j == i:
		wrong("%s, %s, would be hidden by the mount itself", what, dir)
	case j > i:
		wrong("%s, %s, is not mounted yet", what, dir)
	case c.ms[j].Where == dir || c.ms[j].Type != "tmpfs":
		// A mount point, or a file system that may have the directory.
	case slices.ContainsFunc(c.ms[:i+1], func(m Mount) bool { return makes(m, dir) }):
		// An empty file system on which it is made.
	default:
		wrong("%s, %s, is not made by anyone on the empty %s", what, dir, c.ms[j].Where)
	}
}

// makes reports whether dir comes to be when m is mounted.
func makes(m Mount, dir string) bool {
	return within(m.Where, dir) || slices.ContainsFunc(m.Dirs, func(d string) bool { return within(d, dir) })
}

// checkDisks refuses two mounts of disks that could be taken for one another.
func (p Plan) checkDisks() mistakes {
	var found mistakes
	serials, labels, positions := map[string]string{}, map[string]string{}, map[int]string{}
	for _, m := range p.Mounts {
		if m.Disk == nil {
			continue
		}
		subject := "mount " + m.Where
		if other, taken := serials[m.Disk.Serial]; taken && m.Disk.Serial != "" {
			found.add(subject, "the disk on %s has the serial %q too", other, m.Disk.Serial)
		}
		if other, taken := labels[m.Disk.Label]; taken && m.Disk.Label != "" {
			found.add(subject, "the disk on %s has the label %q too", other, m.Disk.Label)
		}
		if other, taken := positions[m.Disk.Position]; taken && m.Disk.Position >= 0 {
			found.add(subject, "the disk on %s has the position %d too", other, m.Disk.Position)
		}
		serials[m.Disk.Serial], labels[m.Disk.Label], positions[m.Disk.Position] = m.Where, m.Where, m.Where
	}
	return found
}
