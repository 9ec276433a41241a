package mounts

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// A nixSet is a Nix attribute set. Its values are strings, booleans, lists of
// strings, []any and further sets.
type nixSet = map[string]any

// sysroot is where a systemd initrd mounts the new root.
const sysroot = "/sysroot"

// NixJSON returns what the reference's mounts.nix would set for the same
// machine, as one JSON object: fileSystems, the mounts and services of a systemd
// initrd, and systemdMounts. [Mount.Added] is not in it. Where the reference
// names a disk by letter, it has the disk's serial if it is known.
func (p Plan) NixJSON() string {
	systems := nixSet{}
	for _, m := range p.Mounts {
		fs := nixSystem(m, m.Options, m.NeededForBoot)
		if m.Type != "" {
			fs["fsType"] = m.Type
		}
		if m.Disk != nil {
			fs["device"] = m.Disk.reference()
		}
		systems[m.Where] = fs
	}
	initrd := nixSet{"mounts": []any{}, "services": nixSet{}}
	if m, ok := p.storeOverlay(); ok {
		initrd = nixInitrd(m, m.Options)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(nixSet{
		"fileSystems":   systems,
		"initrd":        initrd,
		"systemdMounts": []any{storeDropIn()},
	})
	if err != nil {
		panic(err) // strings, lists and booleans always encode
	}
	return b.String()
}

// nixSystem is a value of fileSystems, but for the type.
func nixSystem(m Mount, options []string, neededForBoot bool) nixSet {
	fs := nixSet{"device": m.source()}
	if len(options) > 0 {
		fs["options"] = options
	}
	if neededForBoot {
		fs["neededForBoot"] = true
	}
	if m.NoCheck {
		fs["noCheck"] = true
	}
	if len(m.Depends) > 0 {
		fs["depends"] = m.Depends
	}
	return fs
}

// storeOverlay returns the writable overlay on the store.
func (p Plan) storeOverlay() (Mount, bool) {
	i := slices.IndexFunc(p.Mounts, func(m Mount) bool {
		_, writable := m.option("upperdir")
		return writable && m.Type == "overlay" && m.Where == StorePath
	})
	if i < 0 {
		return Mount{}, false
	}
	return p.Mounts[i], true
}

// nixInitrd is how a systemd initrd mounts the overlay on the store: the unit,
// and the service that makes the overlay's directories.
func nixInitrd(m Mount, options []string) nixSet {
	lower, _ := m.option("lowerdir")
	upper, _ := m.option("upperdir")
	work, _ := m.option("workdir")
	unit := nixSet{
		"what": "overlay", "where": sysroot + m.Where, "type": "overlay",
		"options":  unitValue(strings.Join(underSysroot(options), ",")),
		"wantedBy": []string{"initrd-fs.target"},
		"before":   []string{"initrd-fs.target"},
		"requires": []string{"rw-store.service"},
		"after":    []string{"rw-store.service"},
		// The second slash is the reference's.
		"unitConfig": nixSet{"RequiresMountsFor": unitWord(sysroot + "/" + lower)},
	}
	service := nixSet{
		"unitConfig": nixSet{
			"DefaultDependencies": false,
			"RequiresMountsFor":   unitWord(sysroot + path.Dir(upper)),
		},
		"serviceConfig": nixSet{
			"Type":      "oneshot",
			"ExecStart": mkdir(sysroot+upper, sysroot+work, sysroot+m.Where),
		},
	}
	return nixSet{"mounts": []any{unit}, "services": nixSet{"rw-store": service}}
}

// underSysroot puts the directories of an overlay's options under the new root.
func underSysroot(options []string) []string {
	moved := make([]string, len(options))
	for i, o := range options {
		moved[i] = o
		if k, dirs, ok := strings.Cut(o, "="); ok && strings.HasSuffix(k, "dir") {
			moved[i] = k + "=" + sysroot + strings.ReplaceAll(dirs, ":", ":"+sysroot)
		}
	}
	return moved
}

// storeDropIn keeps the store mounted at shutdown: without default dependencies
// systemd does not try to unmount what it runs from, and does not wait for it.
func storeDropIn() nixSet {
	return nixSet{
		"what": "store", "where": StorePath,
		"overrideStrategy": "asDropin",
		"unitConfig":       nixSet{"DefaultDependencies": false},
	}
}
