package mounts

// Version is the version of the JSON form of a [Plan]. A reader refuses any
// other: host and guest come from one build of mvm, so a difference means that
// the wrong initrd was booted.
const Version = 1

// A Plan is what a guest must have mounted before its init runs, in the order
// in which to mount it. The zero value is an empty plan of no version; plans
// come from [For] or [Decode].
type Plan struct {
	Version int     `json:"version"`
	Mounts  []Mount `json:"mounts"`
}

// A Mount is one file system at one place in the guest.
type Mount struct {
	// Where is the mount point: an absolute, clean path in the guest's new root.
	Where string `json:"where"`

	// Type is the file system type as the kernel names it ("erofs", "overlay",
	// "9p"), or "" for a bind mount.
	Type string `json:"type,omitempty"`

	// What is the source for everything that is not a disk: the tag of a
	// share, the path to bind, or the name to show in mountinfo ("rootfs",
	// "overlay"). It is empty exactly when Disk is set.
	What string `json:"what,omitempty"`

	// Disk names the block device to mount.
	Disk *Disk `json:"disk,omitempty"`

	// Options are the mount options that the reference names, in its order, in
	// fstab's words and unescaped. An element may hold several options with
	// commas between them ("size=50%,mode=0755"). Options that begin with
	// "x-" are for systemd and never reach the kernel. Who mounts wants
	// [Mount.AllOptions].
	Options []string `json:"options,omitempty"`

	// Added are options that follow Options and that mvm adds to the
	// reference: "ro" for what is read-only, "userxattr" for an overlay whose
	// upper directory is a share.
	Added []string `json:"added,omitempty"`

	// NeededForBoot says that the mount must be there before the initrd hands
	// over, in NixOS's sense. The direct way mounts every entry in any case.
	NeededForBoot bool `json:"neededForBoot,omitempty"`

	// NoCheck says that the file system is never to be checked by fsck.
	NoCheck bool `json:"noCheck,omitempty"`

	// Grow says that the file system is to be made as large as its disk once
	// it is mounted. It is set for disks only.
	Grow bool `json:"grow,omitempty"`

	// Depends are the mount points that must be mounted before this one,
	// beyond the parents of Where.
	Depends []string `json:"depends,omitempty"`

	// Dirs are directories to make before mounting, absolute paths in the new
	// root: an overlay's upper and work directories. They get mode 0755.
	Dirs []string `json:"dirs,omitempty"`
}

// A Disk identifies a block device by everything that is known of it. A guest
// looks for the serial first, then for the label, and uses the position only
// when it has neither.
type Disk struct {
	// Serial is the virtio serial number, at most 20 bytes.
	Serial string `json:"serial,omitempty"`

	// Label is the label in the file system's superblock.
	Label string `json:"label,omitempty"`

	// Position counts the machine's disks from 0 in the order QEMU is given
	// them: 0 is what a Linux guest usually calls /dev/vda. It is negative
	// when it is not known.
	Position int `json:"position"`
}
