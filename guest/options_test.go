package guest

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		options string
		want    flags
	}{
		{"", flags{}},
		{"defaults", flags{}},
		{"ro", flags{set: unix.MS_RDONLY}},
		{"ro,rw", flags{}},
		{"ro,defaults", flags{}},
		{"nosuid,nodev,noexec", flags{set: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC}},
		{"noexec,exec,nosuid,suid,nodev,dev", flags{}},
		{"relatime", flags{set: unix.MS_RELATIME}},
		{"noatime,nodiratime", flags{set: unix.MS_NOATIME | unix.MS_NODIRATIME}},
		{"strictatime,lazytime,dirsync", flags{set: unix.MS_STRICTATIME | unix.MS_LAZYTIME | unix.MS_DIRSYNC}},
		{"sync,async", flags{}},
		{"bind", flags{set: unix.MS_BIND}},
		{"rbind,ro", flags{set: unix.MS_BIND | unix.MS_REC | unix.MS_RDONLY}},
		{"rshared", flags{propagation: unix.MS_SHARED | unix.MS_REC}},
		{"rslave", flags{propagation: unix.MS_SLAVE | unix.MS_REC}},
		{"shared,private", flags{propagation: unix.MS_PRIVATE}},
		{"slave,unbindable", flags{propagation: unix.MS_UNBINDABLE}},
		{"x-systemd.requires=a.service,X-mount.mkdir,comment=x,nofail,noauto,_netdev,user", flags{}},
		{"size=50%,mode=0755", flags{data: "size=50%,mode=0755"}},
		{"trans=virtio,version=9p2000.L,msize=65536,ro", flags{set: unix.MS_RDONLY, data: "trans=virtio,version=9p2000.L,msize=65536"}},
		{`lowerdir=/a\,b,upperdir=/c`, flags{data: `lowerdir=/a\,b,upperdir=/c`}},
		{"read-only", flags{data: "read-only"}}, // a word nobody knows is the file system's to judge
	}
	for _, tt := range tests {
		m := mounts.Mount{Options: []string{tt.options}}
		if got := parseOptions(m.AllOptions()); got != tt.want {
			t.Errorf("parseOptions(%s) = %+v; want %+v", tt.options, got, tt.want)
		}
	}
}

func TestVerifySaysWhatIsMounted(t *testing.T) {
	list, err := mounts.ParseMountInfo("26 1 0:23 / / rw - tmpfs rootfs rw\n30 26 254:0 / /nix/store rw - ext4 /dev/vda rw\n")
	if err != nil {
		t.Fatal(err)
	}
	root := mounts.Mount{Where: "/", Type: "tmpfs", What: "rootfs"}
	store := mounts.Mount{Where: "/nix/store", Type: "erofs", Disk: &mounts.Disk{Serial: "nix-store"}}
	if err := verify(mounts.Plan{Mounts: []mounts.Mount{root}}, list); err != nil {
		t.Errorf("verify(%v) = %v; want nil", root, err)
	}
	got := message(verify(mounts.Plan{Mounts: []mounts.Mount{root, store}}, list))
	want := handoff.Failed{
		Op:     "verify /nix/store",
		Err:    "it is of type ext4, not erofs: planned is /dev/disk/by-id/virtio-nix-store on /nix/store type erofs ()",
		Detail: "what is mounted:\n  rootfs on / type tmpfs (rw)\n  /dev/vda on /nix/store type ext4 (rw)",
	}
	if got != want {
		t.Errorf("verify(%v) = %+v; want %+v", store, got, want)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
