package guest

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
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

func TestParseMountInfo(t *testing.T) {
	const text = `26 1 0:23 / / rw,relatime shared:1 - tmpfs rootfs rw,size=125440k,mode=755
30 26 254:0 / /nix/store ro,relatime - erofs /dev/vda ro,user_xattr
31 26 0:5 / /a\040b\134c rw - tmpfs a\011b rw
not a line
`
	got := parseMountInfo(text)
	if len(got) != 3 {
		t.Fatalf("parseMountInfo() = %d lines; want 3", len(got))
	}
	for i, want := range []string{"/ tmpfs rootfs rw", "/nix/store erofs /dev/vda ro", "/a b\\c tmpfs a\tb rw"} {
		m := got[i]
		if s := strings.Join([]string{m.where, m.kind, m.source, m.options[0]}, " "); s != want {
			t.Errorf("line %d = %q; want %q", i, s, want)
		}
	}
}

func TestVerify(t *testing.T) {
	list := parseMountInfo(`26 1 0:23 / / rw - tmpfs rootfs rw
30 26 254:0 / /nix/store rw - erofs /dev/vda rw
31 26 0:40 / /nix/store rw - overlay overlay rw
32 26 0:41 / /ro ro - ext4 /dev/vdb rw
`)
	tests := []struct {
		mount mounts.Mount
		want  string
	}{
		{mounts.Mount{Where: "/", Type: "tmpfs"}, ""},
		{mounts.Mount{Where: "/nix/store", Type: "overlay"}, ""},
		{mounts.Mount{Where: "/nix/store", Type: "erofs"}, "verify /nix/store: it is overlay, and the plan wants erofs"},
		{mounts.Mount{Where: "/nix/store", Type: "overlay", Added: []string{"ro"}}, "verify /nix/store: it is writable, and the plan wants it read-only"},
		{mounts.Mount{Where: "/ro", Type: "ext4", Options: []string{"ro"}}, ""},
		{mounts.Mount{Where: "/ro", Options: []string{"bind"}}, ""},
		{mounts.Mount{Where: "/gone", Type: "ext4"}, "verify /gone: it is not mounted"},
	}
	for _, tt := range tests {
		err := verify(mounts.Plan{Mounts: []mounts.Mount{tt.mount}}, list)
		if got := errorText(err); got != tt.want {
			t.Errorf("verify(%+v) = %q; want %q", tt.mount, got, tt.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add("26 1 0:23 / /a\\040 rw shared:1 - tmpfs rootfs rw\n")
	f.Add(" - \n\\0")
	f.Fuzz(func(_ *testing.T, text string) {
		_ = verify(mounts.Plan{Mounts: []mounts.Mount{{Where: "/", Type: "x"}}}, parseMountInfo(text))
	})
}
