package mounts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMountInfo(t *testing.T) {
	// Linux 6.18 and 6.1: an empty source, escapes, optional fields, a bind
	// mount of a file, a root that is out of reach.
	const text = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /srv/my\040data rw,nosuid shared:3 master:1 - tmpfs  rw,size=4k
41 40 0:40 /a\134b /srv/my\040data/x ro - tmpfs t\011g rw
42 27 0:6 /null /etc/f\012g rw - devtmpfs none rw
43 27 0:50 / /o rw - overlay overlay rw,lowerdir=/a\054b:/c,upperdir=/u
`
	want := []MountInfo{
		{27, 1, "254:0", "/", "/", []string{"rw", "relatime"}, "ext4", "/dev/vda", []string{"rw", "discard"}},
		{40, 27, "0:40", "/", "/srv/my data", []string{"rw", "nosuid"}, "tmpfs", "", []string{"rw", "size=4k"}},
		{41, 40, "0:40", `/a\b`, "/srv/my data/x", []string{"ro"}, "tmpfs", "t\tg", []string{"rw"}},
		{42, 27, "0:6", "/null", "/etc/f\ng", []string{"rw"}, "devtmpfs", "none", []string{"rw"}},
		{43, 27, "0:50", "/", "/o", []string{"rw"}, "overlay", "overlay", []string{"rw", "lowerdir=/a,b:/c", "upperdir=/u"}},
	}
	got, err := ParseMountInfo(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseMountInfo() (-want +got):\n%s", diff)
	}
	if s, want := got[2].String(), "t\tg on /srv/my data/x type tmpfs (ro)"; s != want {
		t.Errorf("String() = %q; want %q", s, want)
	}
}

func TestParseMountInfoRefuses(t *testing.T) {
	tests := []struct{ text, want string }{
		{"\n", `mountinfo line 1: "" has too few fields`},
		{"1 1 0:1 / / rw - tmpfs t rw\nx", `mountinfo line 2: "x" has too few fields`},
		{"1 1 0:1 / / rw shared:1 tmpfs t rw", `mountinfo line 1: "1 1 0:1 / / rw shared:1 tmpfs t rw" has too few fields`},
		{"x 1 0:1 / / rw - tmpfs t rw", `mountinfo line 1: mount ID "x" is not a number`},
		{"1 y 0:1 / / rw - tmpfs t rw", `mountinfo line 1: parent ID "y" is not a number`},
	}
	for _, tt := range tests {
		got, err := ParseMountInfo(tt.text)
		if err == nil || err.Error() != tt.want {
			t.Errorf("ParseMountInfo(%q) = %v, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

// FuzzMountInfo is a guest that reports whatever it likes.
func FuzzMountInfo(f *testing.F) {
	f.Add("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n40 27 0:40 / /rw rw - tmpfs x rw\n")
	f.Add("1 1 0:1 / / rw - tmpfs rootfs rw\n2 1 0:2 / / rw - tmpfs rootfs rw\n")
	f.Add("1 2 0:1 / / rw - tmpfs rootfs rw\n2 1 0:2 / / rw - tmpfs rootfs rw\n")
	f.Add("1 0 0:1 / / rw - tmpfs rootfs rw\n2 1 0:2 / /nix/store rw - overlay overlay ro,lowerdir=/ro,upperdir=/rw/store,workdir=\n")
	plan := good()
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseMountInfo(text)
		if err != nil {
			return
		}
		for _, d := range plan.Compare(all) {
			if d.Text == "" || d.Want == "" {
				t.Fatalf("Compare() = %+v", d)
			}
		}
	})
}
