package mounts

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Unit is a file in a directory of systemd units.
type Unit struct {
	Name string // "nix-store.mount", or of a drop-in "nix-store.mount.d/mvm.conf"
	Text string
}

// InitrdUnits returns the units with which a systemd initrd mounts what boot
// needs under /sysroot: a mount unit each, the rw-store.service that makes the
// directories of the store's overlay, and drop-ins that make initrd-root-fs.target
// and initrd-fs.target wait for them. They need mkdir and mount in the initrd.
func (p Plan) InitrdUnits() []Unit {
	u := unitWriter{plan: p, root: sysroot}
	var rest []string
	for i, boot := range p.bootMounts() {
		m := p.Mounts[i]
		switch {
		case !boot:
		case m.Where == "/":
			u.mount(m, "initrd-root-fs.target")
			u.require("initrd-root-fs.target", []string{u.name(m)})
		default:
			u.mount(m, "initrd-fs.target")
			rest = append(rest, u.name(m))
		}
	}
	u.require("initrd-fs.target", rest)
	return u.units
}

// SystemUnits returns the units for the system that has booted: a mount unit
// for everything but the root, a drop-in that makes local-fs.target wait for
// them, and drop-ins that keep the store mounted when the guest shuts down.
func (p Plan) SystemUnits() []Unit {
	u := unitWriter{plan: p}
	var names []string
	for i, boot := range p.bootMounts() {
		m := p.Mounts[i]
		if m.Where == "/" {
			continue
		}
		if boot {
			m.Dirs = nil // made in the initrd
		}
		u.mount(m, "local-fs.target")
		names = append(names, u.name(m))
	}
	u.require("local-fs.target", names)
	return append(u.units, p.ShutdownUnits()...)
}

// ShutdownUnits returns the drop-ins that keep the store and what it needs
// mounted when a guest with systemd shuts down. They are of use by themselves
// where somebody else has mounted the plan.
//
// Without them systemd takes away what is not busy: the volume under the
// store's overlay, which is then a mount point no more and cannot be made
// read-only at the end, so that its journal is left to be replayed.
func (p Plan) ShutdownUnits() []Unit {
	var units []Unit
	for _, where := range p.storeMounts() {
		units = append(units, Unit{UnitName(where) + ".d/mvm.conf", "[Unit]\n" +
			"# Everything runs from here, so it cannot be unmounted before the end.\n" +
			"DefaultDependencies=no\n"})
	}
	return units
}

// bootMounts reports of each mount whether it must be there before the initrd
// hands over: because it says so, because NixOS wants these places early in any
// case, or because another such mount needs it.
func (p Plan) bootMounts() []bool {
	early := []string{"/", "/nix", "/nix/store", "/var", "/var/log", "/var/lib", "/var/lib/nixos", "/etc", "/usr"}
	return p.withNeeds(func(m Mount) bool { return m.NeededForBoot || slices.Contains(early, m.Where) })
}

// storeMounts returns the mount points of the store and of what it needs, but
// for the root: systemd stops what needs a mount together with that mount.
func (p Plan) storeMounts() []string {
	found := []string{StorePath}
	for i, is := range p.withNeeds(func(m Mount) bool { return m.Where == StorePath }) {
		if where := p.Mounts[i].Where; is && where != "/" && where != StorePath {
			found = append(found, where)
		}
	}
	return found
}

// withNeeds reports of each mount whether it is wanted, or another that is
// wanted needs it.
func (p Plan) withNeeds(wanted func(Mount) bool) []bool {
	at := newIndex(p.Mounts)
	marked := make([]bool, len(p.Mounts))
	var mark func(i int)
	mark = func(i int) {
		if marked[i] {
			return
		}
		marked[i] = true
		for _, j := range at.needs(p.Mounts, i) {
			mark(j)
		}
	}
	for i, m := range p.Mounts {
		if wanted(m) {
			mark(i)
		}
	}
	return marked
}

// A unitWriter writes units for a system whose root is mounted on root, "" for
// the running system.
type unitWriter struct {
	plan  Plan
	root  string
	units []Unit
}

func (u *unitWriter) add(name, text string) { u.units = append(u.units, Unit{name, text}) }

// in returns where the guest's path p is for whom the units are.
func (u *unitWriter) in(p string) string { return path.Join("/", u.root, p) }

func (u *unitWriter) name(m Mount) string { return UnitName(u.in(m.Where)) }

// require makes a target wait for units.
func (u *unitWriter) require(target string, names []string) {
	if len(names) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("[Unit]\n")
	for _, n := range names {
		fmt.Fprintf(&b, "Requires=%s\nAfter=%[1]s\n", n)
	}
	u.add(target+".d/mvm.conf", b.String())
}

// mount adds the unit of m, and before it the service that makes its
// directories.
func (u *unitWriter) mount(m Mount, before string) {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s=%s\n", key, value) }

	b.WriteString("[Unit]\n")
	line("Before", before)
	if len(m.Dirs) > 0 {
		service := u.dirs(m)
		line("Requires", service)
		line("After", service)
	}
	options := u.systemdOptions(m.AllOptions(), line)
	for _, d := range m.Depends {
		line("RequiresMountsFor", unitWord(u.in(d)))
	}
	if m.fsckPass() > 0 {
		fsck := unitValue("systemd-fsck@" + escapePath(m.Disk.Device()) + ".service")
		line("Wants", fsck)
		line("After", fsck)
	}
	if m.grows() && u.root == "" { // in an initrd mvm's agent grows it
		line("Wants", unitValue("systemd-growfs@"+escapePath(m.Where)+".service"))
	}

	b.WriteString("\n[Mount]\n")
	source := m.source()
	if m.Bind() {
		source = u.in(source)
	}
	line("What", unitValue(source))
	line("Where", unitValue(u.in(m.Where)))
	if m.Type != "" {
		line("Type", m.Type)
	}
	if m.Type == "overlay" && u.root != "" {
		options = underSysroot(options)
	}
	if len(options) > 0 {
		line("Options", unitValue(strings.Join(options, ",")))
	}
	u.add(u.name(m), b.String())
}

// systemdOptions writes the options that fstab has for systemd as the lines
// that they stand for (systemd.mount(5)) and returns the others.
func (u *unitWriter) systemdOptions(all []string, line func(key, value string)) []string {
	var rest []string
	for _, o := range all {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "x-systemd.requires":
			line("Requires", unitValue(value))
			line("After", unitValue(value))
		case "x-systemd.after":
			line("After", unitValue(value))
		case "x-systemd.before":
			line("Before", unitValue(value))
		case "x-systemd.requires-mounts-for":
			line("RequiresMountsFor", unitWord(u.in(value)))
		default:
			if !strings.HasPrefix(o, "x-") {
				rest = append(rest, o)
			}
		}
	}
	return rest
}

// dirs adds the service that makes the directories of m and returns its name.
// The one for the store is called as in the reference.
func (u *unitWriter) dirs(m Mount) string {
	name := "rw-store.service"
	if m.Where != StorePath {
		name = "mvm-dirs-" + escapePath(m.Where) + ".service"
	}
	var b strings.Builder
	b.WriteString("[Unit]\nDefaultDependencies=no\n")
	parents := map[string]bool{}
	for _, d := range m.Dirs {
		if up := path.Dir(d); !parents[up] {
			fmt.Fprintf(&b, "RequiresMountsFor=%s\n", unitWord(u.in(up)))
			parents[up] = true
		}
	}
	var dirs []string
	for _, d := range append(slices.Clone(m.Dirs), m.Where) {
		dirs = append(dirs, u.in(d))
	}
	b.WriteString("\n[Service]\nType=oneshot\nExecStart=" + mkdir(dirs...) + "\n")
	u.add(name, b.String())
	return name
}

// mkdir is the command line of a service that makes directories.
func mkdir(dirs ...string) string {
	var line strings.Builder
	line.WriteString("/bin/mkdir -p -m 0755")
	for _, d := range dirs {
		// In a command line systemd also expands variables.
		line.WriteString(" " + strings.ReplaceAll(unitWord(d), "$", "$$"))
	}
	return line.String()
}

// unitValue writes a value that systemd takes as it is but for specifiers.
func unitValue(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// wordEscapes are those of a word in quotation marks.
var wordEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// unitWord writes one word of a value that systemd splits into words.
func unitWord(s string) string {
	if strings.ContainsAny(s, " \t\"'\\") {
		s = `"` + wordEscapes.Replace(s) + `"`
	}
	return unitValue(s)
}
