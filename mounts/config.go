package mounts

// The label and the serial number of the store disk. A machine that has one can
// give neither to a volume.
const (
	StoreLabel  = "nix-store"
	StoreSerial = "nix-store"
)

// Places in the guest that the rules name.
const (
	StorePath   = "/nix/store"     // where every guest has its store
	ROStorePath = "/nix/.ro-store" // the store disk when an overlay covers it
)

// A Config is what the rules need of a machine's definition, in the
// definition's words.
type Config struct {
	// StoreOnDisk says that the machine's first disk is a store disk. Without
	// it one of Shares must be the host's store. A definition that does not
	// say means true exactly when [Config.HostStore] finds none.
	StoreOnDisk bool

	// StoreDiskType is the file system of the store disk: "erofs",
	// "squashfs", "ext4" or "btrfs". Empty means erofs.
	StoreDiskType string

	// StoreDir is where the host keeps its store. Empty means /nix/store. The
	// guest has it at [StorePath] in any case.
	StoreDir string

	// WritableStoreOverlay is the directory in the guest whose store and work
	// directories make the store writable. Empty means a read-only store.
	WritableStoreOverlay string

	// Volumes are all of the machine's volumes in the order QEMU is given
	// them, those without a mount point included: they count for the position.
	Volumes []Volume

	// Shares are the host directories that the guest sees.
	Shares []Share
}

// A Volume is a disk with a file system of its own.
type Volume struct {
	Image      string // names the volume in messages
	MountPoint string // in the guest; empty leaves it unmounted
	FSType     string // empty means ext4
	Label      string // of the file system; empty for none
	Serial     string // at most 20 bytes; empty lets VolumeSerial decide
	ReadOnly   bool
	Grow       bool // its file system is to follow its size
}

// A Share is a host directory that the guest mounts by its tag.
type Share struct {
	Tag        string
	Source     string // on the host
	MountPoint string // in the guest
	Proto      string // "9p" or "virtiofs"; empty means 9p
	ReadOnly   bool
}

// HostStore returns the first share whose source is the host's store, compared
// as it is written.
func (c Config) HostStore() (Share, bool) {
	dir := c.StoreDir
	if dir == "" {
		dir = StorePath
	}
	for _, s := range c.Shares {
		if s.Source == dir {
			return s, true
		}
	}
	return Share{}, false
}

// position returns the position of volume i among the machine's disks.
func (c Config) position(i int) int {
	if c.StoreOnDisk {
		return i + 1
	}
	return i
}
