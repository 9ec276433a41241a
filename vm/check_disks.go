package vm

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/mvmrun/mvm/mounts"
)

// maxVolumes leaves room for the store disk among the 26 disks that Linux names
// with one letter.
const maxVolumes = 25

// labelLimits are the file systems that mvm can make, and how many bytes each
// has for a label.
var labelLimits = map[string]int{"ext2": 16, "ext3": 16, "ext4": 16, "xfs": 12, "btrfs": 255, "vfat": 11}

var (
	// diskSerial is what udev keeps as it is in /dev/disk/by-id.
	diskSerial = regexp.MustCompile(`^[A-Za-z0-9#+.:=@_-]+$`)
	fsTypeName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)
)

func (k *checker) checkVolumes() {
	vs := k.c.Volumes
	if len(vs) > maxVolumes {
		k.wrong(keyAt("volumes", maxVolumes), "a machine has at most %d volumes, this one %d", maxVolumes, len(vs))
	}
	images, labels, serials := make(seen), make(seen), make(seen)
	if k.c.HasStoreDisk() {
		serials[mounts.StoreSerial] = "the store disk"
		if k.c.StoreDiskFormat() != "squashfs" { // which has no label
			labels[mounts.StoreLabel] = "the store disk"
		}
	}
	for i := range vs {
		v, at := &vs[i], keyAt("volumes", i)
		if k.required(at+".image", v.Image) && k.text(at+".image", v.Image) {
			// filepath.Clean: "./a.img" is "a.img", as far as a name can tell.
			images.again(k, at+".image", filepath.Clean(v.Image), "the image")
			if !filepath.IsAbs(v.Image) && !filepath.IsLocal(v.Image) {
				k.wrong(at+".image", "%s leads out of the machine's own directory", quoteShort(v.Image)).
					Hint = "write an absolute path"
			}
		}
		k.volumeFormat(v, at)
		if v.Label != "" && k.label(v, at+".label") {
			labels.again(k, at+".label", v.Label, "the label")
		}
		switch {
		case v.Serial == "":
		case len(v.Serial) > mounts.MaxSerial:
			k.wrong(at+".serial", "%s has %d bytes; virtio has room for %d", quoteShort(v.Serial), len(v.Serial), mounts.MaxSerial)
		case !diskSerial.MatchString(v.Serial):
			k.wrong(at+".serial", "%s would not be a name in /dev/disk/by-id; use letters, digits and # + - . : = @ _", quoteShort(v.Serial))
		default:
			serials.again(k, at+".serial", v.Serial, "the serial")
		}
		k.text(at+".mkfsExtraArgs", v.MkfsExtraArgs...)
	}
}

func (k *checker) volumeFormat(v *Volume, at string) {
	k.oneOf(at+".imageType", v.ImageType, "raw", "qcow2", "vhd", "vhdx")
	fs := v.FileSystem()
	_, canMake := labelLimits[fs]
	switch {
	case !fsTypeName.MatchString(fs) || v.FSType == "" && k.c.src.wrote(at+".fsType"):
		k.wrong(at+".fsType", "%s is no file system", quoteShort(v.FSType))
	case v.CreatesImage() && !canMake:
		k.wrong(at+".fsType", "mvm cannot make the file system %s", quoteShort(fs)).
			Hint = "use one of " + strings.Join(sortedKeys(labelLimits), ", ") + ", or make the image yourself and set autoCreate = false"
	}
	switch {
	case v.Size < 0 || v.Size > maxMiB || v.Size == 0 && k.c.src.wrote(at+".size"):
		k.within(at+".size", v.Size, 1, maxMiB, " MiB")
	case v.Size == 0 && v.CreatesImage():
		k.wrong(at+".size", "the image is to be created, and nothing says how large").
			Hint = "set size in MiB, or autoCreate = false for an image that is there"
	}
}

// label reports whether the label fits the file system.
func (k *checker) label(v *Volume, key string) bool {
	limit, known := labelLimits[v.FileSystem()]
	switch {
	case strings.ContainsFunc(v.Label, unicode.IsControl):
		k.wrong(key, "%s has a control character", quoteShort(v.Label))
	case known && len(v.Label) > limit:
		k.wrong(key, "%s has %d bytes; a label of %s has at most %d", quoteShort(v.Label), len(v.Label), v.FileSystem(), limit)
	case v.FileSystem() == "vfat" && strings.ContainsAny(v.Label, `"*+,./:;<=>?[\]|`):
		k.wrong(key, `a label of vfat has none of " * + , . / : ; < = > ? [ \ ] |`)
	case v.FileSystem() == "vfat" && v.CreatesImage() && strings.ContainsFunc(v.Label, func(r rune) bool { return r > unicode.MaxASCII }):
		k.wrong(key, "%s is more than ASCII, which is all that mkfs.vfat takes", quoteShort(v.Label))
	default:
		return true
	}
	return false
}

func (k *checker) checkShares() {
	tags, sockets := make(seen), make(seen)
	for i := range k.c.Shares {
		s, at := &k.c.Shares[i], keyAt("shares", i)
		k.oneOf(at+".proto", s.Proto, "9p", "virtiofs", "auto")
		if k.required(at+".tag", s.Tag) && k.tag(s, at+".tag") {
			tags.again(k, at+".tag", s.Tag, "the tag")
		}
		if k.required(at+".source", s.Source) {
			k.fails(at+".source", hostPathTrouble(s.Source))
		}
		k.required(at+".mountPoint", s.MountPoint)
		k.oneOf(at+".securityModel", s.SecurityModel, "none", "passthrough", "mapped", "mapped-file")
		k.oneOf(at+".cache", s.Cache, "auto", "always", "metadata", "never")
		if s.Protocol() == "9p" {
			if s.Socket != "" || len(s.ExtraArgs) > 0 {
				key := at + ".socket"
				if s.Socket == "" {
					key = at + ".extraArgs"
				}
				k.wrong(key, "it is for virtiofsd, and 9p has none").Hint = `set proto = "virtiofs", or remove it`
			}
			continue
		}
		if s.Socket != "" && !k.fails(at+".socket", socketTrouble(s.Socket)) {
			sockets.again(k, at+".socket", s.Socket, "the socket")
		}
		k.text(at+".extraArgs", s.ExtraArgs...)
		if s.PassesACLs() && slices.ContainsFunc(slices.Concat(k.c.Virtiofsd.ExtraArgs, s.ExtraArgs), translatesIDs) {
			k.wrong(at+".posixAcl", "virtiofsd cannot pass ACLs on and translate user or group ids").
				Hint = "set posixAcl = false, or remove --translate-uid and --translate-gid"
		}
	}
}

func translatesIDs(arg string) bool {
	return strings.HasPrefix(arg, "--translate-uid") || strings.HasPrefix(arg, "--translate-gid")
}

// tag reports whether a share's tag can be told to the guest.
func (k *checker) tag(s *Share, key string) bool {
	// virtiofs has 36 bytes (virtio 1.2, 5.11.4). QEMU's 9p has 32 with the
	// closing NUL.
	limit := 36
	if s.Protocol() != "virtiofs" {
		limit = 31
	}
	switch {
	case len(s.Tag) > limit:
		k.wrong(key, "%s has %d bytes; a tag of %s has at most %d", quoteShort(s.Tag), len(s.Tag), s.Protocol(), limit)
	case strings.ContainsFunc(s.Tag, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '/' }):
		k.wrong(key, "%s has a blank or a slash; the tag becomes a part of a file's name", quoteShort(s.Tag))
	default:
		return true
	}
	return false
}

// ownedByInit are what mvm-init mounts before and after everything else.
var ownedByInit = []string{"/dev", "/proc", "/run", "/sys"}

// checkMountPoints checks where volumes and shares go, all together.
func (k *checker) checkMountPoints() {
	c := k.c
	taken := make(seen)
	for _, m := range c.guestMounts() {
		key := m.key + ".mountPoint"
		if k.fails(key, guestPathTrouble(m.where)) {
			continue
		}
		isStore := strings.HasPrefix(m.key, "shares") && c.StoreShare() != nil && m.where == c.StoreShare().MountPoint
		switch {
		case slices.Contains(ownedByInit, m.where):
			k.wrong(key, "the guest's init mounts %s itself", m.where)
		case m.where == mounts.StorePath && isStore && !c.HasStoreDisk() && c.WritableStoreOverlay == "":
			// The host's store in place.
		case below(m.where, mounts.StorePath):
			k.wrong(key, "the guest's store is at %s", mounts.StorePath).
				Hint = "mount it elsewhere; with writableStoreOverlay, a share of the store goes to " + mounts.ROStorePath
		case below(m.where, mounts.ROStorePath) && c.HasStoreDisk() && c.WritableStoreOverlay != "":
			k.wrong(key, "the store disk is at %s, under the overlay", mounts.ROStorePath)
		}
		taken.again(k, key, m.where, "the mount point")
	}
}
