package vm

// A Volume is a disk image of the machine's own.
type Volume struct {
	// Image is the image's file; a relative path is one in the machine's
	// state directory. Required.
	Image string `json:"image,omitempty"`

	// Size is the image's size in MiB. Required if mvm is to create it.
	Size int `json:"size,omitempty"`

	// AutoCreate creates and formats an image that is not there:
	// [Volume.CreatesImage].
	AutoCreate *bool `json:"autoCreate,omitempty"`

	// FSType is the file system on it: [Volume.FileSystem].
	FSType string `json:"fsType,omitempty"`

	// Label is the label in the file system's superblock.
	Label string `json:"label,omitempty"`

	// MountPoint is where the guest mounts it. Empty means nowhere.
	MountPoint string `json:"mountPoint,omitempty"`

	// Serial is the disk's virtio serial number, at most 20 bytes. Empty
	// means one that mvm derives.
	Serial string `json:"serial,omitempty"`

	// ReadOnly refuses the guest's writes.
	ReadOnly bool `json:"readOnly,omitempty"`

	// Direct bypasses the host's page cache.
	Direct bool `json:"direct,omitempty"`

	// ImageType is the image's format: [Volume.Format].
	ImageType string `json:"imageType,omitempty"`

	// MkfsExtraArgs are further arguments for mkfs.
	MkfsExtraArgs []string `json:"mkfsExtraArgs,omitempty"`
}

// A Share is a directory of the host that the guest sees live.
type Share struct {
	Tag        string `json:"tag,omitempty"`        // unique; at most 36 bytes, 31 with 9p
	Source     string `json:"source,omitempty"`     // on the host, absolute
	MountPoint string `json:"mountPoint,omitempty"` // in the guest, absolute

	// Proto is "9p", "virtiofs" or "auto": [Share.Protocol].
	Proto string `json:"proto,omitempty"`

	// ReadOnly refuses the guest's writes, on the host's side.
	ReadOnly bool `json:"readOnly,omitempty"`

	// SecurityModel is how 9p stores owners and modes: [Share.Security].
	SecurityModel string `json:"securityModel,omitempty"`

	// Socket is where microvm.nix's virtiofsd listens. mvm's has a socket
	// without a path, whatever this says.
	Socket string `json:"socket,omitempty"`

	// Cache is virtiofsd's cache policy: [Share.CachePolicy].
	Cache string `json:"cache,omitempty"`

	// PosixACL passes POSIX ACLs through virtiofs: [Share.PassesACLs].
	PosixACL *bool `json:"posixAcl,omitempty"`

	// ExtraArgs are further arguments for this share's virtiofsd.
	ExtraArgs []string `json:"extraArgs,omitempty"`
}

// An Interface is a network interface of the guest.
type Interface struct {
	// Type is "user", "tap", "macvtap" or "bridge". Required.
	Type string `json:"type,omitempty"`

	// ID is unique and, for a tap or a macvtap, the device's name on the
	// host; at most 15 bytes. Required.
	ID string `json:"id,omitempty"`

	// MAC is the guest's Ethernet address. Empty means one derived from the
	// names of machine and interface.
	MAC string `json:"mac,omitempty"`

	// Bridge is the host's bridge to attach to: required for type "bridge",
	// possible for "tap".
	Bridge string `json:"bridge,omitempty"`

	User    UserNetwork `json:"user,omitzero"`
	Tap     Tap         `json:"tap,omitzero"`
	Macvtap Macvtap     `json:"macvtap,omitzero"`
}

// UserNetwork is what only an interface of type "user" has.
type UserNetwork struct {
	// Backend is "auto", "passt" or "slirp": [Interface.UserBackend].
	Backend string `json:"backend,omitempty"`

	// Restrict keeps the guest from reaching anything: it answers those that
	// reach it by a forwarded port.
	Restrict bool `json:"restrict,omitempty"`
}

// Tap is what only an interface of type "tap" has.
type Tap struct {
	// VHost moves packets in the host's kernel instead of in QEMU.
	VHost bool `json:"vhost,omitempty"`
}

// Macvtap is what only an interface of type "macvtap" has.
type Macvtap struct {
	// Link is the host's interface to sit on. Required.
	Link string `json:"link,omitempty"`

	// Mode is the kernel's macvlan mode: [Interface.MacvtapMode].
	Mode string `json:"mode,omitempty"`
}

// A ForwardPort forwards one port through the interface of type "user".
type ForwardPort struct {
	// From is the side that connects, "host" or "guest": [ForwardPort.Direction].
	From string `json:"from,omitempty"`

	// Proto is "tcp" or "udp": [ForwardPort.Protocol].
	Proto string `json:"proto,omitempty"`

	Host  Endpoint `json:"host,omitzero"`
	Guest Endpoint `json:"guest,omitzero"`
}

// An Endpoint is one side of a [ForwardPort].
type Endpoint struct {
	// Address is an IP address. Empty is, of a port that listens, every
	// address of the host or the guest's gateway; of one that is connected
	// to, the guest's own address or the host's loopback.
	Address string `json:"address,omitempty"`

	Port int `json:"port,omitempty"` // 1 to 65535; required
}

// A Device is a device of the host that the guest is given.
type Device struct {
	// Bus is "pci" or "usb". Required.
	Bus string `json:"bus,omitempty"`

	// Path is a PCI address ("0000:01:00.0") or properties of QEMU's
	// usb-host ("vendorid=0xabcd,productid=0x0123"). Required.
	Path string `json:"path,omitempty"`

	QEMU DeviceQEMU `json:"qemu,omitzero"`
}

// DeviceQEMU is how QEMU places a [Device].
type DeviceQEMU struct {
	ID              string `json:"id,omitempty"`
	Bus             string `json:"bus,omitempty"`
	DeviceExtraArgs string `json:"deviceExtraArgs,omitempty"` // as in "k=v,k=v"
}
