package mounts

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestForBeyondTheReference(t *testing.T) {
	ro, rw := "ro", "rw"
	tests := []struct {
		name   string
		config Config
		want   []string // mount points in order, with type, source and rw or ro
	}{
		{
			"a volume takes the place of the tmpfs, wherever it stands",
			Config{StoreOnDisk: true, Volumes: []Volume{
				{Image: "home.img", MountPoint: "/home"},
				{Image: "root.img", MountPoint: "/", Label: "root"},
			}},
			[]string{
				"/ ext4 /dev/disk/by-id/virtio-mvm-root " + rw,
				"/nix/store erofs /dev/disk/by-id/virtio-nix-store " + ro,
				"/home ext4 /dev/disk/by-id/virtio-disk-1 " + rw,
			},
		},
		{
			"a share can be the root",
			Config{StoreOnDisk: true, Shares: []Share{{Tag: "root", Source: "/srv/root", MountPoint: "/"}}},
			[]string{"/ 9p root " + rw, "/nix/store erofs /dev/disk/by-id/virtio-nix-store " + ro},
		},
		{
			"the overlay lies below another volume's mount point",
			Config{StoreOnDisk: true, WritableStoreOverlay: "/persist/store", Volumes: []Volume{
				{Image: "p.img", MountPoint: "/persist"},
			}},
			[]string{
				"/ tmpfs rootfs " + rw,
				"/nix/.ro-store erofs /dev/disk/by-id/virtio-nix-store " + ro,
				"/persist ext4 /dev/disk/by-id/virtio-disk-1 " + rw,
				"/nix/store overlay overlay " + rw,
			},
		},
		{
			"parents come first, the rest keeps its order",
			Config{StoreOnDisk: true, Volumes: []Volume{
				{Image: "1", MountPoint: "/z"},
				{Image: "2", MountPoint: "/a/b/c"},
				{Image: "3", MountPoint: "/y"},
				{Image: "4", MountPoint: "/a"},
				{Image: "5", MountPoint: "/a/bc"},
				{Image: "6", MountPoint: "/nix"},
			}},
			[]string{
				"/ tmpfs rootfs " + rw,
				"/nix ext4 /dev/disk/by-id/virtio-disk-6 " + rw,
				"/nix/store erofs /dev/disk/by-id/virtio-nix-store " + ro,
				"/z ext4 /dev/disk/by-id/virtio-disk-1 " + rw,
				"/a ext4 /dev/disk/by-id/virtio-disk-4 " + rw,
				"/a/b/c ext4 /dev/disk/by-id/virtio-disk-2 " + rw,
				"/y ext4 /dev/disk/by-id/virtio-disk-3 " + rw,
				"/a/bc ext4 /dev/disk/by-id/virtio-disk-5 " + rw,
			},
		},
		{
			"a store disk beside a share of the host's store",
			Config{StoreOnDisk: true, Shares: []Share{{Tag: "s", Source: "/nix/store", MountPoint: "/host", ReadOnly: true}}},
			[]string{
				"/ tmpfs rootfs " + rw,
				"/nix/store erofs /dev/disk/by-id/virtio-nix-store " + ro,
				"/host 9p s " + ro,
			},
		},
		{
			"the host keeps its store elsewhere",
			Config{StoreDir: "/srv/store", Shares: []Share{
				{Tag: "not", Source: "/nix/store", MountPoint: "/not"},
				{Tag: "s", Source: "/srv/store", MountPoint: "/host"},
			}},
			[]string{
				"/ tmpfs rootfs " + rw,
				"/host 9p s " + rw,
				"/nix/store  /host " + ro,
				"/not 9p not " + rw,
			},
		},
		{
			"ext4 and btrfs store disks have a label, too",
			Config{StoreOnDisk: true, StoreDiskType: "btrfs"},
			[]string{"/ tmpfs rootfs " + rw, "/nix/store btrfs /dev/disk/by-id/virtio-nix-store " + ro},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustFor(t, tt.config)
			var got []string
			for _, m := range p.Mounts {
				mode := rw
				if m.ReadOnly() {
					mode = ro
				}
				got = append(got, strings.Join([]string{m.Where, m.Type, m.source(), mode}, " "))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("For() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestForOverlayOnAShare pins what the reference came to later and the
// conformance data do not have: it is for every reader but NixJSON.
func TestForOverlayOnAShare(t *testing.T) {
	p := mustFor(t, Config{
		StoreOnDisk: true, WritableStoreOverlay: "/rw",
		Shares: []Share{{Tag: "rw", Source: "/srv/rw", MountPoint: "/rw", Proto: "virtiofs"}},
	})
	m, _ := p.storeOverlay()
	if diff := cmp.Diff([]string{"userxattr"}, m.Added); diff != "" {
		t.Errorf("Added of the overlay (-want +got):\n%s", diff)
	}
	if strings.Contains(p.NixJSON(), "userxattr") {
		t.Error("NixJSON() has userxattr; want the reference's options only")
	}
	for _, text := range []string{p.Fstab(), p.Nix(), listing(p.InitrdUnits())} {
		if !strings.Contains(text, "userxattr") {
			t.Errorf("no userxattr in\n%s", text)
		}
	}
}

// TestForOverlayNearAShare: what counts is the file system that the upper
// directory is on, wherever that is mounted.
func TestForOverlayNearAShare(t *testing.T) {
	share := func(where string) Share {
		return Share{Tag: "rw" + where[1:], Source: "/srv/rw", MountPoint: where, Proto: "virtiofs"}
	}
	for _, tt := range []struct {
		name    string
		volumes []Volume
		shares  []Share
		want    bool
	}{
		{"below it", nil, []Share{share("/data")}, true},
		{"the root is one", nil, []Share{share("/")}, true},
		{"on a volume in it", []Volume{{Image: "v", MountPoint: "/data/rw"}}, []Share{share("/data")}, false},
		{"one on the volume", []Volume{{Image: "v", MountPoint: "/"}}, []Share{share("/data/rw")}, true},
		{"beside it", nil, []Share{share("/dat"), share("/data/rwx")}, false},
	} {
		p := mustFor(t, Config{StoreOnDisk: true, WritableStoreOverlay: "/data/rw/store", Volumes: tt.volumes, Shares: tt.shares})
		m, _ := p.storeOverlay()
		if got := slices.Contains(m.AllOptions(), "userxattr"); got != tt.want {
			t.Errorf("%s: the overlay's options are %q; want userxattr among them: %v", tt.name, m.AllOptions(), tt.want)
		}
	}
}

func TestForSaysAllMistakesAtOnce(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		want   []string
	}{
		{
			"no store", Config{},
			[]string{"the store: it is neither on a disk nor shared by the host"},
		},
		{
			"a type that is none", Config{StoreOnDisk: true, StoreDiskType: "xfs"},
			[]string{`the store: a store disk cannot be of type "xfs"`},
		},
		{
			"two on one mount point",
			Config{StoreOnDisk: true,
				Volumes: []Volume{{Image: "a", MountPoint: "/d"}, {Image: "b", MountPoint: "/d"}},
				Shares:  []Share{{Tag: "t", Source: "/s", MountPoint: "/nix/store"}},
			},
			[]string{"volume b: volume a is mounted on /d already", "share t: the store is mounted on /nix/store already"},
		},
		{
			"an overlay on the store in place",
			Config{WritableStoreOverlay: "/rw", Shares: []Share{{Tag: "t", Source: "/nix/store", MountPoint: "/nix/store"}}},
			[]string{
				"share t: the store's overlay is mounted on /nix/store already",
				"mount /nix/store: it needs itself: /nix/store needs /nix/store",
			},
		},
		{
			"an overlay inside the store",
			Config{StoreOnDisk: true, WritableStoreOverlay: "/nix/store/rw"},
			[]string{"mount /nix/store: it needs itself: /nix/store needs /nix/store"},
		},
		{
			"disks to be taken for one another",
			Config{StoreOnDisk: true, Volumes: []Volume{
				{Image: "a", Label: "nix-store", MountPoint: "/a"},
				{Image: "b", Label: "x", MountPoint: "/b"},
				{Image: "c", Label: "x"},
				{Image: "d", Serial: "mvm-x"},
				{Image: "e", Serial: "nix-store"},
			}},
			[]string{
				`volume a: the store disk has the label "nix-store" too`,
				`volume c: volume b has the label "x" too`,
				`volume d: volume b has the serial "mvm-x" too`,
				`volume e: the store disk has the serial "nix-store" too`,
			},
		},
		{
			"bad serials",
			Config{StoreOnDisk: true, Volumes: []Volume{
				{Image: "a", Serial: "123456789012345678901", MountPoint: "/a"},
				{Image: "b", Serial: "a,b"},
			}},
			[]string{
				`volume b: serial "a,b" has characters that a device name cannot have`,
				`mount /a: serial "123456789012345678901" has 21 bytes, virtio has room for 20`,
			},
		},
		{
			"shares", Config{StoreOnDisk: true, Shares: []Share{
				{Tag: "t", Source: "/a", MountPoint: "/a", Proto: "nfs"},
				{Tag: "t", Source: "/b", MountPoint: "/b"},
				{Tag: "u", Source: "/c"},
				{Source: "/d", MountPoint: "/d"},
			}},
			[]string{
				`share t: there is no protocol "nfs"`, "share t: another share has the same tag",
				"share u: it has no mount point", "share of /d: it has no tag",
			},
		},
		{
			"paths",
			Config{StoreOnDisk: true, WritableStoreOverlay: "rw", Volumes: []Volume{
				{Image: "a", MountPoint: "a"}, {Image: "b", MountPoint: "/b/../c"}, {Image: "c", MountPoint: "/c\n"},
			}},
			[]string{
				`mount /nix/store: a path it depends on, "rw", is not absolute`,
				`mount /nix/store: a directory to make, "rw/store", is not absolute`,
				`mount /nix/store: a directory to make, "rw/work", is not absolute`,
				`mount a: its mount point, "a", is not absolute`,
				`mount /b/../c: its mount point, "/b/../c", is not clean, write "/c"`,
				"mount /c\n: its mount point, \"/c\\n\", has a control character",
			},
		},
		{
			"an overlay on a read-only volume",
			Config{StoreOnDisk: true, WritableStoreOverlay: "/rw", Volumes: []Volume{{Image: "a", MountPoint: "/rw", ReadOnly: true}}},
			[]string{"mount /nix/store: the upper directory /rw/store is on /rw, which is read-only"},
		},
		{
			"an overlay on vfat",
			Config{StoreOnDisk: true, WritableStoreOverlay: "/rw", Volumes: []Volume{{Image: "a", MountPoint: "/rw", FSType: "vfat"}}},
			[]string{"mount /nix/store: the upper directory /rw/store is on /rw, and overlayfs cannot keep it on vfat"},
		},
		{
			"an overlay on 9p",
			Config{StoreOnDisk: true, WritableStoreOverlay: "/rw", Shares: []Share{{Tag: "rw", Source: "/rw", MountPoint: "/rw"}}},
			[]string{"mount /nix/store: the upper directory /rw/store is on /rw, and overlayfs cannot keep it on 9p"},
		},
		{
			"an overlay whose name has a comma",
			Config{StoreOnDisk: true, WritableStoreOverlay: "/r,w"},
			[]string{
				`mount /nix/store: a path it depends on, "/r,w", has a comma, which ends an option in fstab`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := For(tt.config)
			if err == nil {
				t.Fatalf("For() = %+v; want an error", p)
			}
			if diff := cmp.Diff(tt.want, messages(err)); diff != "" {
				t.Errorf("For() error (-want +got):\n%s", diff)
			}
		})
	}
}

// messages takes joined mistakes apart.
func messages(err error) []string {
	var got []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	for _, e := range joined.Unwrap() {
		var m *Mistake
		if !errors.As(e, &m) {
			got = append(got, "not a *Mistake: "+e.Error())
			continue
		}
		got = append(got, m.Error())
	}
	return got
}

func TestForHintsAtVirtiofs(t *testing.T) {
	_, err := For(Config{
		StoreOnDisk: true, WritableStoreOverlay: "/rw",
		Shares: []Share{{Tag: "rw", Source: "/rw", MountPoint: "/rw", Proto: "9p"}},
	})
	var m *Mistake
	if !errors.As(err, &m) || !strings.Contains(m.Hint, "virtiofs") {
		t.Errorf("For() of an overlay on 9p = %v; want a hint at virtiofs", err)
	}
}

func TestVolumeSerial(t *testing.T) {
	tests := []struct {
		volume   Volume
		position int
		want     string
	}{
		{Volume{Serial: "D4", Label: "x"}, 4, "D4"},
		{Volume{}, 0, "disk-0"},
		{Volume{}, 123, "disk-123"},
		{Volume{Label: "rw-store"}, 1, "mvm-rw-store"},
		{Volume{Label: "sixteen--letters"}, 1, "mvm-sixteen--letters"},
		{Volume{Label: "seventeen-letters"}, 1, "mvm-sevente-c2fc3f86"},
		{Volume{Label: "a b"}, 1, "mvm-a_b-10a3f9f2"},
		{Volume{Label: "äöüäöü"}, 1, "mvm-______-cafbe799"},
	}
	for _, tt := range tests {
		got := VolumeSerial(tt.volume, tt.position)
		if got != tt.want {
			t.Errorf("VolumeSerial(%+v, %d) = %s; want %s", tt.volume, tt.position, got, tt.want)
		}
		if wrong := checkSerial(got); wrong != "" {
			t.Errorf("VolumeSerial(%+v, %d): %s", tt.volume, tt.position, wrong)
		}
	}
}

func TestDevice(t *testing.T) {
	tests := []struct {
		disk              Disk
		device, reference string
	}{
		{Disk{"S", "L", 3}, "/dev/disk/by-id/virtio-S", "/dev/disk/by-label/L"},
		{Disk{"S", "", 3}, "/dev/disk/by-id/virtio-S", "/dev/disk/by-id/virtio-S"},
		{Disk{"", "a b/é", 3}, `/dev/disk/by-label/a\x20b\x2fé`, "/dev/disk/by-label/a b/é"},
		{Disk{"", "", 0}, "/dev/vda", "/dev/vda"},
		{Disk{"", "", 25}, "/dev/vdz", "/dev/vdz"},
		{Disk{"", "", 26}, "/dev/vdaa", "/dev/vdaa"},
		{Disk{"", "", 701}, "/dev/vdzz", "/dev/vdzz"},
		{Disk{"", "", 702}, "/dev/vdaaa", "/dev/vdaaa"},
	}
	for _, tt := range tests {
		if got := tt.disk.Device(); got != tt.device {
			t.Errorf("%+v.Device() = %s; want %s", tt.disk, got, tt.device)
		}
		if got := tt.disk.reference(); got != tt.reference {
			t.Errorf("%+v.reference() = %s; want %s", tt.disk, got, tt.reference)
		}
	}
}
