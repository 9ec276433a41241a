package mounts

import (
	"slices"
	"strings"
)

// noUpper are types that overlayfs cannot keep its upper directory on: they are
// read-only, or have neither extended attributes nor whiteouts.
//
// 9p is one of them although Linux 6.1 mounts such an overlay and complains in
// its log only. Nothing of the lower store can then be removed: with QEMU 7.2
// and the security models none and passthrough, touching the whiteout is an
// ENXIO (QEMU opens no devices for a guest since CVE-2023-2861); with mapped-xattr
// directories stay "not empty"; and with any cache the mount itself is refused
// ("upper fs missing required features").
var noUpper = []string{"9p", "erofs", "exfat", "iso9660", "overlay", "squashfs", "vfat"}

// overlay checks the directories of an overlay.
func (c *checker) overlay(i int, wrong func(string, ...any) *Mistake) {
	m := c.ms[i]
	before := len(c.found)
	lowers, hasLower := m.option("lowerdir")
	upper, hasUpper := m.option("upperdir")
	work, hasWork := m.option("workdir")
	if !hasLower {
		wrong("an overlay needs a lowerdir")
		return
	}
	if hasUpper != hasWork {
		wrong("an overlay needs upperdir and workdir, or neither")
	}
	// A colon parts lower directories; escaping it works differently in the
	// options of old and new kernels. A comma was taken for the end of the
	// option before it could be seen here.
	for _, o := range m.Options {
		if strings.Contains(o, "dir=") && strings.Contains(o, ",") {
			wrong("its option %q has a comma, which overlayfs takes for the end of the directory", o)
		}
	}
	dirs := strings.Split(lowers, ":")
	if hasUpper && hasWork {
		for _, d := range []string{upper, work} {
			if strings.Contains(d, ":") {
				wrong("its directory %q has a colon, which parts directories in overlayfs", d)
			}
		}
		dirs = append(dirs, upper, work)
	}
	for _, d := range dirs {
		if text := checkPath(d); text != "" {
			wrong("its directory, %q, %s", d, text)
		}
	}
	if len(c.found) > before {
		return
	}
	for d := range strings.SplitSeq(lowers, ":") {
		c.exists(i, "the lower directory", d, wrong)
	}
	if hasUpper && hasWork {
		c.exists(i, "the upper directory", upper, wrong)
		c.exists(i, "the work directory", work, wrong)
	}
	if len(c.found) > before || !hasUpper {
		return
	}
	c.upper(i, upper, work, strings.Split(lowers, ":"), wrong)
}

// upper checks what overlayfs asks of its writable side.
func (c *checker) upper(i int, upper, work string, lowers []string, wrong func(string, ...any) *Mistake) {
	up := c.ms[c.at.on(upper)[0]]
	if w := c.ms[c.at.on(work)[0]]; w.Where != up.Where {
		wrong("the upper directory %s is on %s and the work directory %s on %s, but overlayfs renames from one to the other",
			upper, up.Where, work, w.Where)
	}
	if within(upper, work) || within(work, upper) {
		wrong("the upper directory %s and the work directory %s lie within each other", upper, work)
	}
	for _, l := range lowers {
		if within(l, upper) || within(upper, l) {
			wrong("the upper directory %s and the lower directory %s lie within each other", upper, l)
		}
	}
	switch {
	case up.ReadOnly():
		wrong("the upper directory %s is on %s, which is read-only", upper, up.Where)
	case slices.Contains(noUpper, up.Type):
		hint := "put the overlay on an ext4, xfs or btrfs volume, or on the tmpfs of the root"
		if up.Type == "9p" {
			hint = `set proto = "virtiofs" for the share, or ` + hint
		}
		wrong("the upper directory %s is on %s, and overlayfs cannot keep it on %s", upper, up.Where, up.Type).Hint = hint
	}
}
