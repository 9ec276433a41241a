package mounts

import "strings"

// AllOptions returns the options to mount with, one to an element: those of
// Options and then those of Added, split at their commas. Options for systemd
// ("x-…") and words like "defaults" and "bind" are still among them.
func (m Mount) AllOptions() []string {
	var all []string
	for _, list := range [][]string{m.Options, m.Added} {
		for _, o := range list {
			for one := range strings.SplitSeq(o, ",") {
				all = append(all, one)
			}
		}
	}
	return all
}

// ReadOnly reports whether the mount is to be read-only. As in fstab, the last
// of "ro" and "rw" counts, and neither means read-write.
func (m Mount) ReadOnly() bool {
	ro := false
	for _, o := range m.AllOptions() {
		switch o {
		case "ro":
			ro = true
		case "rw":
			ro = false
		}
	}
	return ro
}

// Bind reports whether m shows a directory that is mounted already instead of
// mounting a file system.
func (m Mount) Bind() bool {
	for _, o := range m.AllOptions() {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}

// option returns the value of the last option of that name.
func (m Mount) option(name string) (value string, ok bool) {
	for _, o := range m.AllOptions() {
		if k, v, has := strings.Cut(o, "="); has && k == name {
			value, ok = v, true
		}
	}
	return value, ok
}
