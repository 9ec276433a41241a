package mounts

import "slices"

// checkConfig finds what is wrong with a definition and could not be seen in
// the plan that follows from it.
func (b *builder) checkConfig() {
	types := []string{"", "erofs", "squashfs", "ext4", "btrfs"}
	if b.StoreOnDisk && !slices.Contains(types, b.StoreDiskType) {
		b.found.add(storeSubject, "a store disk cannot be of type %q", b.StoreDiskType).
			Hint = "use erofs, squashfs, ext4 or btrfs"
	}
	if _, ok := b.HostStore(); !b.StoreOnDisk && !ok {
		b.found.add(storeSubject, "it is neither on a disk nor shared by the host").
			Hint = "set storeOnDisk, or share the host's " + StorePath
	}
	b.checkVolumes()
	b.checkShares()
}

// checkVolumes refuses two disks that a guest could take for one another,
// mounted or not.
func (b *builder) checkVolumes() {
	serials, labels := map[string]string{}, map[string]string{}
	if b.StoreOnDisk {
		serials[StoreSerial] = "the store disk"
		if b.StoreDiskType != "squashfs" {
			labels[StoreLabel] = "the store disk"
		}
	}
	for i, v := range b.Volumes {
		subject := "volume " + v.Image
		if other, taken := labels[v.Label]; taken && v.Label != "" {
			b.found.add(subject, "%s has the label %q too", other, v.Label)
			continue // its serial is equal for that reason
		}
		labels[v.Label] = subject

		serial := VolumeSerial(v, b.position(i))
		if other, taken := serials[serial]; taken {
			b.found.add(subject, "%s has the serial %q too", other, serial)
			continue
		}
		serials[serial] = subject
		if wrong := checkSerial(serial); wrong != "" && v.MountPoint == "" {
			b.found.add(subject, "%s", wrong)
		}
	}
}

func (b *builder) checkShares() {
	tags := map[string]bool{}
	for _, s := range b.Shares {
		subject := "share " + s.Tag
		if !slices.Contains([]string{"", "9p", "virtiofs"}, s.Proto) {
			b.found.add(subject, "there is no protocol %q", s.Proto).Hint = "use 9p or virtiofs"
		}
		if s.MountPoint == "" {
			b.found.add(subject, "it has no mount point")
		}
		switch {
		case s.Tag == "":
			b.found.add("share of "+s.Source, "it has no tag")
		case tags[s.Tag]:
			b.found.add(subject, "another share has the same tag")
		}
		tags[s.Tag] = true
	}
}
