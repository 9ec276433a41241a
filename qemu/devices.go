package qemu

import "net/netip"

// A Drive is a disk. The zero value of each field but ID and Path is the
// careful choice.
type Drive struct {
	// ID names the drive to QMP. It is a letter followed by letters, digits
	// and any of "-._".
	ID string

	// Path is a file, or a block device if BlockDevice is set.
	Path        string
	BlockDevice bool

	// File names an inherited file to use instead of opening Path; see
	// [Machine.Files]. Path is then for people.
	File string

	// Writable lets the guest write. The zero value is read-only.
	Writable bool

	// Format is the image's format. Empty means "raw"; QEMU never guesses,
	// since a guest could write another format's header.
	Format string

	// AIO is "threads", "native" or "io_uring". Empty means "threads".
	// "native" needs Direct.
	AIO string

	// Direct bypasses the host's page cache.
	Direct bool

	// Discard passes the guest's trims on to the file.
	Discard bool

	// Serial is what the guest sees as the disk's serial number, at most 20
	// bytes. Empty means none.
	Serial string

	// Bus is the ID of a [RootPort] to plug the disk into. Empty means the
	// machine's own bus.
	Bus string

	Why string
}

// Vsock is a guest's address for AF_VSOCK.
type Vsock struct {
	CID uint32 // 3 or more
	// File names an inherited, open /dev/vhost-vsock. Empty means that QEMU
	// opens the device itself.
	File string
}

// A Credential is a systemd credential, given by fw_cfg. Its contents are never on
// a command line unless they are Text.
type Credential struct {
	// Name has at most 28 bytes, all that fw_cfg leaves room for.
	Name string
	// Path is the file with the contents. QEMU reads it once, at its start.
	Path string
	// File names an inherited file to read instead.
	File string
	// Text is what it holds, if that is no secret, instead of a file.
	Text string
	// Why is for [Machine.Explain]. Empty means the key credentialFiles.
	Why string
}

// A Share is a directory of the host that the guest can mount by its Tag.
type Share struct {
	// Tag has at most 31 bytes for 9p and 36 for virtiofs.
	Tag string

	// Path is the directory to serve by 9p. It is empty for virtiofs.
	Path string
	// Security is 9p's security model: "none", "passthrough", "mapped" or
	// "mapped-file". Empty means "none".
	Security string
	// Writable lets the guest write by 9p. The zero value is read-only.
	// A virtiofs server has a switch of its own.
	Writable bool

	// Socket is where a virtiofs server listens, and SocketFile names an
	// inherited socket that is connected to one. Either makes the share
	// virtiofs.
	Socket, SocketFile string

	Why string
}

func (s *Share) virtiofs() bool { return s.Socket != "" || s.SocketFile != "" }

// A NIC is a network card. Exactly one of the back-ends is set.
type NIC struct {
	// MAC is the card's address. Empty means QEMU's own, which is the same
	// in every machine.
	MAC string

	// MTU is how long a packet may be, in bytes. The guest's driver is told and
	// makes it the card's. Zero leaves it to the guest, which takes 1500.
	MTU int

	User   *UserNet   // QEMU's own network stack
	Tap    *TapNet    // a tap or macvtap of the host
	Stream *StreamNet // a process that speaks Ethernet, such as passt

	Why string
}

// UserNet is a network inside QEMU that needs no privilege.
type UserNet struct {
	HostForwards []HostForward
	// Restrict keeps the guest from reaching anything but its forwards.
	Restrict bool
}

// A HostForward is a port of the host that leads into the guest. IPv4 only.
type HostForward struct {
	UDP       bool
	HostAddr  netip.Addr // zero means all addresses
	HostPort  uint16
	GuestAddr netip.Addr // zero means the guest's first address
	GuestPort uint16
}

// TapNet is a tap device. Files win over Ifname.
type TapNet struct {
	Ifname string
	// Files names one inherited, open tap for each queue.
	Files []string
	// VhostFiles names one inherited, open /dev/vhost-net for each queue.
	VhostFiles []string
	// Vhost moves packets in the host's kernel. It is implied by VhostFiles.
	Vhost bool
	// Queues is the number of queues when there are no Files. Zero means 1.
	Queues int
}

func (t *TapNet) queues() int {
	if len(t.Files) > 0 {
		return len(t.Files)
	}
	return or(t.Queues, 1)
}

// StreamNet is a stream socket that carries Ethernet frames. It needs QEMU 7.2.
type StreamNet struct {
	Socket string // a path to connect to
	File   string // names an inherited, connected socket to use instead
}

// A RootPort is a PCI Express port that a device can be plugged into while the
// guest runs. Empty fields are QEMU's to choose.
type RootPort struct {
	ID, Bus, Chassis, Slot, Addr string
	Why                          string
}

// A HostDevice is a device of the host that the guest gets for itself.
// Exactly one of PCI and USB is set.
type HostDevice struct {
	PCI string // an address on the host, as "0000:01:00.0"
	USB []Prop // what identifies it, as vendorid and productid

	ID, Bus string // empty means QEMU's choice
	Extra   []Prop // further properties of QEMU's device
	Why     string
}

// A Graphics is a display.
type Graphics struct {
	// Backend is "gtk" or "headless". Empty means "gtk".
	Backend string
	// Extra are further properties of the graphics card.
	Extra []Prop
}
