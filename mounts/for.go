package mounts

import (
	"errors"
	"path"
)

// afterModules makes systemd wait for modules that the kernel does not load by
// itself, such as virtiofs.
const afterModules = "x-systemd.requires=systemd-modules-load.service"

// For returns the mount plan of a machine, checked and in the order in which to
// mount. The rules are those of microvm.nix's mounts.nix, in its order:
//
//  1. a store disk without an overlay is mounted on /nix/store;
//  2. the host's store, shared elsewhere and without an overlay, is bound there;
//  3. a store disk with an overlay is mounted on /nix/.ro-store;
//  4. an overlay on /nix/store joins the read-only store and a writable directory;
//  5. a tmpfs is the root, unless a volume or share is mounted on /;
//  6. volumes go where they say, and boot needs them if they carry the overlay;
//  7. so do shares, and boot needs the host's store as well;
//  8. what a systemd initrd needs besides is derived from the plan by
//     [Plan.Units] and [Plan.NixJSON].
//
// The error joins a [*Mistake] for everything that is wrong.
func For(c Config) (Plan, error) {
	b := &builder{Config: c, at: map[string]string{}}
	b.checkConfig()
	b.root()
	b.store()
	for i, v := range c.Volumes {
		b.volume(v, c.position(i))
	}
	for _, s := range c.Shares {
		b.share(s)
	}
	p := Plan{Version: Version, Mounts: sorted(b.mounts)}
	if err := errors.Join(append(b.found, p.check()...)...); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// A builder gathers mounts in the order of the rules.
type builder struct {
	Config
	mounts []Mount
	at     map[string]string // mount point to what is mounted there, for messages
	found  mistakes
}

// add appends m. Of two mounts on one mount point the second is a mistake.
func (b *builder) add(subject string, m Mount) {
	if first, taken := b.at[m.Where]; taken {
		m := b.found.add(subject, "%s is mounted on %s already", first, m.Where)
		if first == storeSubject || first == overlaySubject {
			m.Hint = "mount it elsewhere; the store needs " + StorePath + " and " + ROStorePath
		}
		return
	}
	b.at[m.Where] = subject
	b.mounts = append(b.mounts, m)
}

// How messages call the mounts that no volume or share asked for.
const (
	storeSubject   = "the store"
	overlaySubject = "the store's overlay"
)

func (b *builder) root() {
	for _, v := range b.Volumes {
		if v.MountPoint == "/" {
			return
		}
	}
	for _, s := range b.Shares {
		if s.MountPoint == "/" {
			return
		}
	}
	b.add("the root", Mount{
		Where: "/", Type: "tmpfs", What: "rootfs",
		Options:       []string{"size=50%,mode=0755"},
		NeededForBoot: true,
	})
}

func (b *builder) store() {
	lower := ROStorePath
	if b.StoreOnDisk {
		if b.WritableStoreOverlay == "" {
			lower = StorePath
		}
		b.add(storeSubject, b.storeDisk(lower))
	} else {
		host, ok := b.HostStore()
		if !ok || host.MountPoint == "" {
			return // checkConfig has said so
		}
		lower = host.MountPoint
		if b.WritableStoreOverlay == "" && lower != StorePath {
			b.add(storeSubject, Mount{
				Where: StorePath, What: lower,
				Options:       []string{"bind"},
				Added:         []string{"ro"},
				NeededForBoot: true,
			})
		}
	}
	if b.WritableStoreOverlay != "" {
		b.add(overlaySubject, b.overlay(lower))
	}
}

func (b *builder) storeDisk(where string) Mount {
	d := &Disk{Serial: StoreSerial, Label: StoreLabel}
	t := b.StoreDiskType
	switch t {
	case "":
		t = "erofs"
	case "squashfs":
		d.Label = "" // its superblock has no room for one
	}
	return Mount{
		Where: where, Type: t, Disk: d,
		Options:       []string{afterModules},
		Added:         []string{"ro"},
		NeededForBoot: true,
		NoCheck:       true,
	}
}

func (b *builder) overlay(lower string) Mount {
	upper := path.Join(b.WritableStoreOverlay, "store")
	work := path.Join(b.WritableStoreOverlay, "work")
	m := Mount{
		Where: StorePath, Type: "overlay", What: "overlay",
		Options:       []string{"lowerdir=" + lower, "upperdir=" + upper, "workdir=" + work},
		NeededForBoot: true,
		Depends:       []string{lower, b.WritableStoreOverlay},
		Dirs:          []string{upper, work},
	}
	if b.onVirtiofs(upper) {
		// virtiofsd passes on user.* attributes only, and overlayfs keeps
		// its notes in trusted.* unless told otherwise.
		m.Added = []string{"userxattr"}
	}
	return m
}

// onVirtiofs reports whether a directory lies on a virtiofs share: whether that
// has the nearest mount point above it.
func (b *builder) onVirtiofs(dir string) bool {
	nearest, is := "", false
	look := func(where string, virtiofs bool) {
		if where != "" && within(dir, where) && len(where) > len(nearest) {
			nearest, is = where, virtiofs
		}
	}
	for _, v := range b.Volumes {
		look(v.MountPoint, false)
	}
	for _, s := range b.Shares {
		look(s.MountPoint, s.Proto == "virtiofs")
	}
	return is
}

func (b *builder) volume(v Volume, position int) {
	if v.MountPoint == "" {
		return
	}
	m := Mount{
		Where: v.MountPoint, Type: v.FSType,
		Disk:          &Disk{Serial: VolumeSerial(v, position), Label: v.Label, Position: position},
		NeededForBoot: v.MountPoint == b.WritableStoreOverlay,
		Grow:          v.Grow && !v.ReadOnly,
	}
	if m.Type == "" {
		m.Type = "ext4"
	}
	if v.ReadOnly {
		m.Added = []string{"ro"}
	}
	b.add("volume "+v.Image, m)
}

func (b *builder) share(s Share) {
	if s.MountPoint == "" || s.Tag == "" {
		return // checkShares has said so
	}
	host, ok := b.HostStore()
	m := Mount{
		Where: s.MountPoint, Type: s.Proto, What: s.Tag,
		NeededForBoot: s.MountPoint == b.WritableStoreOverlay || ok && s.Source == host.Source,
	}
	switch s.Proto {
	case "", "9p":
		m.Type = "9p"
		m.Options = []string{"trans=virtio", "version=9p2000.L", "msize=65536", afterModules}
	case "virtiofs":
		m.Options = []string{"defaults", afterModules}
	}
	if s.ReadOnly {
		m.Added = []string{"ro"}
	}
	b.add("share "+s.Tag, m)
}
