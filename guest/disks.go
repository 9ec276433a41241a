package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mvmrun/mvm/guest/superblock"
	"github.com/mvmrun/mvm/mounts"
)

// disks finds block devices. Tests point it at a made-up tree.
type disks struct {
	sys string // "/sys/class/block"
	dev string // "/dev"
}

// A disk is a block device as the guest sees it.
type disk struct {
	name     string // "vda"
	path     string // "/dev/vda"
	serial   string // what the host calls it, or "" where nobody said
	size     int64  // bytes
	readOnly bool

	superblock.Superblock
}

func (d disk) String() string {
	s := fmt.Sprintf("%s: %d MiB", d.path, d.size>>20)
	if d.serial != "" {
		s += fmt.Sprintf(", serial %q", d.serial)
	}
	if d.Type != "" {
		s += ", " + d.Type
	}
	if d.Label != "" {
		s += fmt.Sprintf(", label %q", d.Label)
	}
	return s
}

// list returns the disks and partitions there are, by name. RAM disks, loop
// devices and whatever has no size cannot be what a plan means.
func (ds disks) list() ([]disk, error) {
	entries, err := os.ReadDir(ds.sys)
	if err != nil && !os.IsNotExist(err) { // no block device at all: no class
		return nil, err
	}
	var list []disk
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "zram") {
			continue
		}
		sectors, err := strconv.ParseInt(ds.attribute(name, "size"), 10, 64)
		if err != nil || sectors <= 0 {
			continue
		}
		list = append(list, disk{
			name:     name,
			path:     filepath.Join(ds.dev, name),
			serial:   ds.attribute(name, "serial"),
			size:     sectors * 512, // in sysfs always, whatever the device's blocks
			readOnly: ds.attribute(name, "ro") == "1",
		})
	}
	return list, nil
}

// attribute reads a file in sysfs; one that is missing is empty.
func (ds disks) attribute(name, attr string) string {
	b, _ := os.ReadFile(filepath.Join(ds.sys, name, attr))
	return strings.TrimSpace(string(b))
}

// probe reads the superblock of each disk. A disk that cannot be read has none.
func probe(list []disk) {
	for i := range list {
		f, err := os.Open(list[i].path)
		if err != nil {
			continue
		}
		list[i].Superblock, _ = superblock.Probe(f)
		f.Close()
	}
}

// find looks once for the disk that want means. It returns nil, nil if the
// disk is not there.
//
// The serial goes first: it is set by whoever started the machine. A label is
// written on the disk by whoever filled it, so a disk that has another serial
// is taken by its label only when nothing better has come in time (last). The
// position is used when a plan has nothing else.
func (ds disks) find(want *mounts.Disk, last bool) (*disk, error) {
	list, err := ds.list()
	if err != nil {
		return nil, err
	}
	if want.Serial == "" && want.Label == "" {
		return one(list, "name "+letter(want.Position), func(d disk) bool { return d.name == letter(want.Position) })
	}
	if want.Serial != "" {
		d, err := one(list, fmt.Sprintf("serial %q", want.Serial), func(d disk) bool { return d.serial == want.Serial })
		if d != nil || err != nil {
			return d, err
		}
	}
	if want.Label == "" {
		return nil, nil
	}
	probe(list)
	return one(list, fmt.Sprintf("label %q", want.Label), func(d disk) bool {
		return d.Label == want.Label && (last || want.Serial == "" || d.serial == "")
	})
}

// one returns the only disk that matches, and an error that names two if there
// are more.
func one(list []disk, what string, match func(disk) bool) (*disk, error) {
	var found *disk
	for i := range list {
		if !match(list[i]) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("both %s and %s have the %s", found.path, list[i].path, what)
		}
		found = &list[i]
	}
	return found, nil
}

// letter returns the kernel's name for the n-th virtio disk from 0: vda, …,
// vdz, vdaa.
func letter(n int) string {
	var s string
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return "vd" + s
}

// describe names a wanted disk in an error.
func describe(d *mounts.Disk) string {
	switch {
	case d.Serial != "" && d.Label != "":
		return fmt.Sprintf("disk with serial %q or label %q", d.Serial, d.Label)
	case d.Serial != "":
		return fmt.Sprintf("disk with serial %q", d.Serial)
	case d.Label != "":
		return fmt.Sprintf("disk with label %q", d.Label)
	}
	return "disk " + letter(d.Position)
}

// wait returns the disk that want means, waiting for it until the limit.
func (ds disks) wait(want *mounts.Disk, events uevents, limit time.Duration) (*disk, error) {
	until := time.Now().Add(limit)
	for last := false; ; {
		d, err := ds.find(want, last)
		if d != nil || err != nil {
			return d, wrap("find "+describe(want), err)
		}
		if last {
			return nil, &Failure{
				Op:     "find " + describe(want),
				Err:    fmt.Errorf("it did not appear within %v", limit),
				Detail: ds.seen(),
			}
		}
		last = !events.wait(until)
	}
}

// seen lists the disks there are, for the reader of an error.
func (ds disks) seen() string {
	list, err := ds.list()
	if err != nil || len(list) == 0 {
		return "the guest has no disk"
	}
	probe(list)
	lines := []string{"the guest's disks:"}
	for _, d := range list {
		lines = append(lines, "  "+d.String())
	}
	return strings.Join(lines, "\n")
}

// wrap returns nil for nil and a Failure otherwise.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return failure(op, err)
}
