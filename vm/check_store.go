package vm

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/mvmrun/mvm/mounts"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// checkBoot checks what to boot.
func (k *checker) checkBoot() {
	c := k.c
	k.hostPath("toplevel", c.Toplevel)
	k.hostPath("kernel", c.Kernel)
	k.hostPath("modules", c.Modules)
	k.hostPath("initrdPath", c.InitrdPath)
	k.hostPath("closureInfo", c.ClosureInfo)
	switch {
	case len(c.Init) == 0 && c.src.wrote("init"):
		k.wrong("init", "it names no program").Hint = "leave the key out for the init of toplevel"
	case len(c.Init) > 0:
		k.fails("init", guestPathTrouble(c.Init[0]))
		k.text("init", c.Init...)
		k.kernelWords()
	}
	for i, p := range c.KernelParams {
		if strings.TrimSpace(p) == "" {
			k.wrong(keyAt("kernelParams", i), "the parameter is empty")
		} else if strings.ContainsFunc(p, unicode.IsControl) {
			k.wrong(keyAt("kernelParams", i), "%s has a control character", quoteShort(p))
		} else if strings.Count(p, `"`)%2 != 0 {
			k.wrong(keyAt("kernelParams", i), "%s has a quotation mark without its like, and the kernel would take what follows for a part of it", quoteShort(p))
		} else if slices.Contains(strings.Fields(p), "--") {
			k.wrong(keyAt("kernelParams", i), "after -- the kernel takes all for arguments of init, and what follows is not").
				Hint = "write arguments of init into init"
		}
	}
	if n := len(strings.Join(c.KernelParams, " ")); n > maxKernelLine {
		k.wrong("kernelParams", "they make a command line of %d bytes, and the kernel cuts it after %d", n, maxKernelLine)
	}
}

// kernelWords checks that init can stand on the kernel's command line, which has
// blanks between words and no way to write a quotation mark. Only a systemd initrd
// takes the arguments from there.
func (k *checker) kernelWords() {
	c := k.c
	if strings.ContainsAny(c.Init[0], kernelBlanks) {
		k.wrong("init", "%s: %s", quoteShort(c.Init[0]), notKernelWord)
	}
	if c.InitrdPath == "" {
		return
	}
	for _, arg := range c.Init[1:] {
		if strings.ContainsRune(arg, '"') {
			k.wrong("init", "%s has a quotation mark, which the kernel would not pass on", quoteShort(arg)).
				Hint = "leave initrdPath out, or write a script that has the argument"
			return
		}
	}
}

// hostPath checks a path on the host that may be relative to the file.
func (k *checker) hostPath(key, p string) {
	if p == "" && k.c.src.wrote(key) {
		k.wrong(key, "it names nothing").Hint = "leave the key out for its default"
	}
	k.text(key, p)
}

// storePathName is the name of a path in a store. The hash is not asked for: a
// store made for a test has none.
var storePathName = regexp.MustCompile(`^[0-9A-Za-z_+?=-][0-9A-Za-z_+?=.-]*$`)

// checkStore checks where the guest's store comes from.
func (k *checker) checkStore() {
	c := k.c
	if c.StoreDir != "" || c.src.wrote("storeDir") {
		k.fails("storeDir", hostPathTrouble(c.StoreDir))
	}
	if len(c.StorePaths) > 0 && c.ClosureInfo != "" {
		k.wrong("closureInfo", "storePaths and closureInfo both say what is on the store disk").Hint = "remove one of them"
	}
	names := make(seen)
	for i, p := range c.StorePaths {
		key := keyAt("storePaths", i)
		dir, name := path.Split(p)
		switch {
		case strings.TrimSuffix(dir, "/") != c.HostStoreDir() || !storePathName.MatchString(name):
			k.wrong(key, "%s is no path of the store %s", quoteShort(p), c.HostStoreDir()).
				Hint = "write the path of the store itself, not one in it, and set storeDir if the store is elsewhere"
		case len(name) > 211: // Nix's own limit
			k.wrong(key, "the name of a store path has at most 211 characters, this one %d", len(name))
		default:
			if first, twice := names[p]; twice {
				k.wrong(key, "%s is the same path", first)
			}
			names[p] = key
		}
	}
	k.oneOf("storeDiskType", c.StoreDiskType, "erofs", "squashfs", "ext4", "btrfs")
	k.text("storeDiskCompression", c.StoreDiskCompression)
	k.text("storeDiskErofsFlags", c.StoreDiskErofsFlags...)
	k.text("storeDiskSquashfsFlags", c.StoreDiskSquashfsFlags...)
	if !c.HasStoreDisk() && c.StoreShare() == nil {
		m := k.wrong("storeOnDisk", "the guest gets no store: it is neither on a disk nor shared by the host")
		m.Hint = "remove storeOnDisk, or add a share with source = " + quoteShort(c.HostStoreDir())
	}
}

// checkOverlay checks where writes to the store go.
func (k *checker) checkOverlay() {
	c, key := k.c, "writableStoreOverlay"
	w := c.WritableStoreOverlay
	if w == "" {
		return
	}
	if k.fails(key, guestPathTrouble(w)) {
		return
	}
	ro := mounts.ROStorePath
	if s := c.StoreShare(); s != nil && !c.HasStoreDisk() {
		ro = s.MountPoint
	}
	switch {
	case below(mounts.StorePath, w), below(w, mounts.StorePath):
		k.wrong(key, "%s and the store it is to cover lie within each other", w).Hint = "use /nix/.rw-store"
		return
	case below(w, ro), below(ro, w):
		k.wrong(key, "%s and the read-only store, %s, lie within each other", w, ro).Hint = "use /nix/.rw-store"
		return
	case strings.ContainsAny(w, ":,\\"):
		k.wrong(key, "overlayfs takes a colon, comma or backslash for the end of a directory")
		return
	}
	const hint = "put it on an ext4, xfs or btrfs volume, or where nothing is mounted"
	// Read-only ones, and those that have no extended attributes.
	noUpper := []string{"erofs", "exfat", "iso9660", "squashfs", "vfat"}
	switch m := c.mountedUnder(w); {
	case m.key == "": // the root's tmpfs
	case m.readOnly:
		k.wrong(key, "it is on %s, which is read-only", m.key).Hint = hint
	case slices.Contains(noUpper, m.fsType):
		k.wrong(key, "it is on %s, and overlayfs cannot write to %s", m.key, m.fsType).Hint = hint
	}
}

// guestMount is a volume or share that the guest mounts.
type guestMount struct {
	key      string // "volumes[0]"
	where    string
	fsType   string
	readOnly bool
}

// guestMounts are the volumes and shares with a mount point.
func (c *Config) guestMounts() []guestMount {
	var all []guestMount
	for i := range c.Volumes {
		if v := &c.Volumes[i]; v.MountPoint != "" {
			all = append(all, guestMount{keyAt("volumes", i), v.MountPoint, v.FileSystem(), v.ReadOnly})
		}
	}
	for i := range c.Shares {
		if s := &c.Shares[i]; s.MountPoint != "" {
			all = append(all, guestMount{keyAt("shares", i), s.MountPoint, s.Protocol(), s.ReadOnly})
		}
	}
	return all
}

// mountedUnder returns the volume or share that a path of the guest is on, or
// nothing if that is the root's tmpfs.
func (c *Config) mountedUnder(p string) guestMount {
	var best guestMount
	for _, m := range c.guestMounts() {
		if below(p, m.where) && len(m.where) > len(best.where) {
			best = m
		}
	}
	return best
}

// below reports whether a clean absolute path is dir or something in it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
