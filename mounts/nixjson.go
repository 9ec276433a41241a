package mounts

import (
	"bytes"
	"encoding/json"
	"path"
	"strings"
)

// A nixConfig is the four keys that the conformance data hold, in the shape of
// the NixOS options that they set. The reference's options alone are in it.
type nixConfig struct {
	FileSystems   map[string]nixFileSystem `json:"fileSystems"`
	Initrd        nixInitrd                `json:"initrd"`
	SystemdMounts []nixDropIn              `json:"systemdMounts"`
}

type nixFileSystem struct {
	Device        string   `json:"device"`
	FSType        string   `json:"fsType,omitempty"`
	Options       []string `json:"options,omitempty"`
	NeededForBoot bool     `json:"neededForBoot,omitempty"`
	NoCheck       bool     `json:"noCheck,omitempty"`
	Depends       []string `json:"depends,omitempty"`
}

type nixInitrd struct {
	Mounts   []nixMountUnit        `json:"mounts"`
	Services map[string]nixService `json:"services"`
}

type nixMountUnit struct {
	What       string         `json:"what"`
	Where      string         `json:"where"`
	Type       string         `json:"type"`
	Options    string         `json:"options"`
	WantedBy   []string       `json:"wantedBy"`
	Before     []string       `json:"before"`
	Requires   []string       `json:"requires"`
	After      []string       `json:"after"`
	UnitConfig map[string]any `json:"unitConfig"`
}

type nixService struct {
	UnitConfig    map[string]any    `json:"unitConfig"`
	ServiceConfig map[string]string `json:"serviceConfig"`
}

type nixDropIn struct {
	What             string         `json:"what"`
	Where            string         `json:"where"`
	OverrideStrategy string         `json:"overrideStrategy"`
	UnitConfig       map[string]any `json:"unitConfig"`
}

// sysroot is where a systemd initrd mounts the new root.
const sysroot = "/sysroot"

// NixJSON returns what the reference's mounts.nix would set for the same
// machine, as one JSON object: fileSystems, the mounts and services of a systemd
// initrd, and systemdMounts. [Mount.Added] is not in it. Where the reference
// names a disk by letter, it has the disk's serial if it is known.
func (p Plan) NixJSON() string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p.nixConfig()); err != nil {
		panic(err) // strings, lists and booleans always encode
	}
	return b.String()
}

func (p Plan) nixConfig() nixConfig {
	c := nixConfig{
		FileSystems:   map[string]nixFileSystem{},
		Initrd:        nixInitrd{Mounts: []nixMountUnit{}, Services: map[string]nixService{}},
		SystemdMounts: []nixDropIn{storeDropIn()},
	}
	for _, m := range p.Mounts {
		fs := nixFileSystem{
			Device:        m.What,
			FSType:        m.Type,
			Options:       m.Options,
			NeededForBoot: m.NeededForBoot,
			NoCheck:       m.NoCheck,
			Depends:       m.Depends,
		}
		if m.Disk != nil {
			fs.Device = m.Disk.reference()
		}
		c.FileSystems[m.Where] = fs
	}
	if m, ok := p.storeOverlay(); ok {
		c.Initrd.Mounts = append(c.Initrd.Mounts, overlayUnit(m, m.Options))
		c.Initrd.Services["rw-store"] = rwStore(m)
	}
	return c
}

// storeOverlay returns the writable overlay on the store.
func (p Plan) storeOverlay() (Mount, bool) {
	for _, m := range p.Mounts {
		if _, writable := m.option("upperdir"); writable && m.Type == "overlay" && m.Where == StorePath {
			return m, true
		}
	}
	return Mount{}, false
}

// overlayUnit is the overlay as a unit of a systemd initrd.
func overlayUnit(m Mount, options []string) nixMountUnit {
	lower, _ := m.option("lowerdir")
	return nixMountUnit{
		What: "overlay", Where: sysroot + m.Where, Type: "overlay",
		Options:  strings.Join(underSysroot(options), ","),
		WantedBy: []string{"initrd-fs.target"},
		Before:   []string{"initrd-fs.target"},
		Requires: []string{"rw-store.service"},
		After:    []string{"rw-store.service"},
		// The second slash is the reference's.
		UnitConfig: map[string]any{"RequiresMountsFor": sysroot + "/" + lower},
	}
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

// rwStore is the service that makes the overlay's directories.
func rwStore(m Mount) nixService {
	upper, _ := m.option("upperdir")
	work, _ := m.option("workdir")
	return nixService{
		UnitConfig: map[string]any{
			"DefaultDependencies": false,
			"RequiresMountsFor":   sysroot + path.Dir(upper),
		},
		ServiceConfig: map[string]string{
			"Type":      "oneshot",
			"ExecStart": "/bin/mkdir -p -m 0755 " + sysroot + upper + " " + sysroot + work + " " + sysroot + m.Where,
		},
	}
}

// storeDropIn keeps the store mounted at shutdown: without default dependencies
// systemd does not try to unmount what it runs from, and does not wait for it.
func storeDropIn() nixDropIn {
	return nixDropIn{
		What: "store", Where: StorePath,
		OverrideStrategy: "asDropin",
		UnitConfig:       map[string]any{"DefaultDependencies": false},
	}
}
