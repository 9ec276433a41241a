package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/vm/control"
)

// reportedBy is what a guest of the example reported, but for its store, which
// has a name that would clear a terminal.
const reportedBy = `26 1 0:23 / / rw,relatime - tmpfs rootfs rw,mode=755,inode64
30 26 0:22 / /run rw,nosuid,nodev - tmpfs tmpfs rw,size=55944k,mode=755,inode64
31 26 254:0 / /nix/store ro,relatime - erofs /dev/` + "\x1b[2J" + `vda ro,user_xattr,acl,cache_strategy=readaround
36 26 254:32 / /data ro,relatime - ext4 /dev/vdc rw
`

func TestVerify(t *testing.T) {
	plan := mounts.Plan{Version: mounts.Version, Mounts: []mounts.Mount{
		{Where: "/", Type: "tmpfs", What: "rootfs", Options: []string{"mode=0755"}},
		{Where: "/nix/store", Type: "erofs", Disk: &mounts.Disk{Serial: "nix-store"}, Added: []string{"ro"}},
		{Where: "/data", Type: "ext4", Disk: &mounts.Disk{Serial: "mvm-data"}},
		{Where: "/src", Type: "virtiofs", What: "src"},
	}}
	const (
		root  = "rootfs on / type tmpfs (mode=0755)"
		store = "/dev/disk/by-id/virtio-nix-store on /nix/store type erofs (ro)"
		data  = "/dev/disk/by-id/virtio-mvm-data on /data type ext4 ()"
		src   = "src on /src type virtiofs ()"
	)
	got, err := verify(plan, reportedBy)
	want := []control.Mount{
		{Where: "/", Type: "tmpfs", Source: "rootfs", Planned: root, Mounted: "rootfs on / type tmpfs (rw,relatime,mode=755,inode64)"},
		{Where: "/nix/store", Type: "erofs", Source: "/dev/?[2Jvda", Planned: store,
			Mounted: "/dev/?[2Jvda on /nix/store type erofs (ro,relatime,user_xattr,acl,cache_strategy=readaround)"},
		{Where: "/data", Planned: data, Mounted: "/dev/vdc on /data type ext4 (ro,relatime)", Wrong: "is read-only, but is to be writable"},
		{Where: "/src", Planned: src, Wrong: "is not mounted"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verify() changed (-want +got):\n%s", diff)
	}
	const both = "/data is read-only, but is to be writable\n    planned: " + data + "\n    mounted: /dev/vdc on /data type ext4 (ro,relatime)\n" +
		"  /src is not mounted\n    planned: " + src + "\n    mounted: nothing"
	if err == nil || err.Error() != both {
		t.Errorf("verify() = %v; want %s", err, both)
	}
	if got, err := verify(plan, "no mountinfo"); got != nil || err == nil || !strings.HasPrefix(err.Error(), "its report of what is mounted: ") {
		t.Errorf("verify() of something else = %v, %v; want an error about the report", got, err)
	}
}
