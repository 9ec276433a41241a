package mounts

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good is a plan without a mistake, for tests to spoil.
func good() Plan {
	return Plan{Version: Version, Mounts: []Mount{
		{Where: "/", Type: "tmpfs", What: "rootfs", Options: []string{"size=50%,mode=0755"}},
		{Where: "/ro", Type: "erofs", Disk: &Disk{Serial: "nix-store", Label: "nix-store"}, Added: []string{"ro"}},
		{Where: "/rw", Type: "ext4", Disk: &Disk{Serial: "disk-1", Position: 1}},
		{
			Where: "/nix/store", Type: "overlay", What: "overlay",
			Options: []string{"lowerdir=/ro", "upperdir=/rw/store", "workdir=/rw/work"},
			Depends: []string{"/ro", "/rw"}, Dirs: []string{"/rw/store", "/rw/work"},
		},
		{Where: "/data", Type: "9p", What: "data"},
		{Where: "/bound", What: "/data/sub", Options: []string{"bind"}},
	}}
}

func TestCheck(t *testing.T) {
	if err := good().Check(); err != nil {
		t.Fatalf("Check() of a good plan: %v", err)
	}
	overlay := func(options ...string) func(*Plan) {
		return func(p *Plan) { p.Mounts[3].Options = options }
	}
	tests := []struct {
		name  string
		spoil func(*Plan)
		want  []string
	}{
		{"version", func(p *Plan) { p.Version = 2 }, []string{"mount plan: it has version 2, this program knows 1"}},
		{"nothing", func(p *Plan) { *p = Plan{Version: 1} }, []string{"mount /: nothing is mounted there"}},
		{"no root", func(p *Plan) { p.Mounts = p.Mounts[1:3] }, []string{"mount /: nothing is mounted there"}},
		{
			"two on one", func(p *Plan) { p.Mounts[4].Where = "/rw" },
			[]string{"mount /rw: it is mounted twice", "mount /bound: the directory to bind, /data/sub, is not made by anyone on the empty /"},
		},
		{
			"upper and work apart",
			overlay("lowerdir=/ro", "upperdir=/rw/store", "workdir=/ro/work"),
			[]string{"mount /nix/store: the upper directory /rw/store is on /rw and the work directory /ro/work on /ro, but overlayfs renames from one to the other"},
		},
		{
			"lower not mounted yet",
			func(p *Plan) { p.Mounts[1], p.Mounts[3] = p.Mounts[3], p.Mounts[1] },
			[]string{
				"mount /nix/store: it comes before /ro, which it needs",
				"mount /nix/store: it comes before /rw, which it needs",
			},
		},
		{
			"lower mounted, but later and not in depends",
			func(p *Plan) {
				p.Mounts[3].Depends = nil
				p.Mounts[1], p.Mounts[3] = p.Mounts[3], p.Mounts[1]
			},
			[]string{
				"mount /nix/store: the lower directory, /ro, is not mounted yet",
				"mount /nix/store: the upper directory, /rw/store, is not mounted yet",
				"mount /nix/store: the work directory, /rw/work, is not mounted yet",
			},
		},
		{
			"lower that nobody makes",
			overlay("lowerdir=/nowhere", "upperdir=/rw/store", "workdir=/rw/work"),
			[]string{"mount /nix/store: the lower directory, /nowhere, is not made by anyone on the empty /"},
		},
		{
			"directories that nobody makes",
			func(p *Plan) {
				overlay("lowerdir=/ro", "upperdir=/x/store", "workdir=/x/work")(p)
			},
			[]string{
				"mount /nix/store: the upper directory, /x/store, is not made by anyone on the empty /",
				"mount /nix/store: the work directory, /x/work, is not made by anyone on the empty /",
			},
		},
		{
			"nested",
			overlay("lowerdir=/ro", "upperdir=/rw/a", "workdir=/rw/a/b"),
			[]string{"mount /nix/store: the upper directory /rw/a and the work directory /rw/a/b lie within each other"},
		},
		{"half an overlay", overlay("lowerdir=/ro", "upperdir=/rw/a"), []string{"mount /nix/store: an overlay needs upperdir and workdir, or neither"}},
		{"no lower", overlay("index=off"), []string{"mount /nix/store: an overlay needs a lowerdir"}},
		{"read-only overlay of two", overlay("lowerdir=/ro:/data"), []string{"mount /nix/store: the lower directory, /data, is not mounted yet"}},
		{
			"commas and colons",
			overlay("lowerdir=/ro,b", "upperdir=/rw/a:b", "workdir=/rw/work"),
			[]string{
				`mount /nix/store: its option "lowerdir=/ro,b" has a comma, which overlayfs takes for the end of the directory`,
				`mount /nix/store: its directory "/rw/a:b" has a colon, which parts directories in overlayfs`,
			},
		},
		{
			"cycle",
			func(p *Plan) {
				p.Mounts[1].Depends = []string{"/nix/store"}
			},
			[]string{"mount /ro: it needs itself: /ro needs /nix/store needs /ro"},
		},
		{"bind of itself", func(p *Plan) { p.Mounts[5].What = "/bound/x" }, []string{"mount /bound: it needs itself: /bound needs /bound"}},
		{"bind of a disk", func(p *Plan) { p.Mounts[5].What, p.Mounts[5].Disk = "", &Disk{Serial: "x", Position: 3} }, []string{"mount /bound: a disk cannot be bound"}},
		{"bind with a type", func(p *Plan) { p.Mounts[5].Type = "none" }, []string{`mount /bound: a bind mount has no type, this one has "none"`}},
		{"no type", func(p *Plan) { p.Mounts[4].Type = "" }, []string{"mount /data: it has no type"}},
		{"bad type", func(p *Plan) { p.Mounts[4].Type = "9 p" }, []string{`mount /data: the kernel has no type "9 p"`}},
		{"no source", func(p *Plan) { p.Mounts[4].What = "" }, []string{"mount /data: it has no source"}},
		{"two sources", func(p *Plan) { p.Mounts[2].What = "x" }, []string{`mount /rw: it has two sources, a disk and "x"`}},
		{
			"a disk without identity", func(p *Plan) { p.Mounts[2].Disk = &Disk{Position: -1} },
			[]string{"mount /rw: its disk has no serial, no label and no position to be found by"},
		},
		{
			"disks alike", func(p *Plan) { *p.Mounts[2].Disk = *p.Mounts[1].Disk },
			[]string{
				`mount /rw: the disk on /ro has the serial "nix-store" too`,
				`mount /rw: the disk on /ro has the label "nix-store" too`,
				`mount /rw: the disk on /ro has the position 0 too`,
			},
		},
		{"long label", func(p *Plan) { p.Mounts[2].Disk.Label = "seventeen-letters" }, []string{`mount /rw: label "seventeen-letters" has 17 bytes, ext4 has room for 16`}},
		{"label with a slash", func(p *Plan) { p.Mounts[2].Disk.Label = "a/b" }, []string{`mount /rw: its label, "a/b", has a slash`}},
		{
			"options", func(p *Plan) { p.Mounts[4].Options = []string{"", "a\nb", `a="b`, `a\`, " a", "\xff"} },
			[]string{
				"mount /data: one of its options is empty",
				`mount /data: its option "a\nb" has a control character`,
				`mount /data: its option "a=\"b" has a quotation mark or a backslash`,
				`mount /data: its option "a\\" ends with a backslash`,
				`mount /data: its option " a" begins or ends with a space`,
				`mount /data: its option "\xff" is not valid UTF-8`,
			},
		},
		{
			"too many options", func(p *Plan) { p.Mounts[4].Options = []string{strings.Repeat("x", 4096)} },
			[]string{"mount /data: its options have 4096 bytes, the kernel takes 4095"},
		},
		{
			"paths", func(p *Plan) {
				p.Mounts[4].Where = "/data/"
				p.Mounts[4].Depends = []string{"x", "/a,b"}
				p.Mounts[4].Dirs = []string{"/a/./b"}
				p.Mounts[5].What = "/a\x00"
			},
			[]string{
				`mount /data/: its mount point, "/data/", is not clean, write "/data"`,
				`mount /data/: a path it depends on, "x", is not absolute`,
				`mount /data/: a path it depends on, "/a,b", has a comma, which ends an option in fstab`,
				`mount /data/: a directory to make, "/a/./b", is not clean, write "/a/b"`,
				`mount /bound: the directory to bind, "/a\x00", has a control character`,
			},
		},
		{
			"a name too long for a unit", func(p *Plan) { p.Mounts[4].Where = "/" + strings.Repeat("-", 63) },
			[]string{
				"mount /" + strings.Repeat("-", 63) + ": its mount point needs a systemd unit with a name of 258 bytes, at most 255 are possible",
				"mount /bound: the directory to bind, /data/sub, is not made by anyone on the empty /",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good()
			tt.spoil(&p)
			err := p.Check()
			if err == nil {
				t.Fatalf("Check() = nil; want %q", tt.want)
			}
			if diff := cmp.Diff(tt.want, messages(err)); diff != "" {
				t.Errorf("Check() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSortedIsTopologicalAndStable sorts random trees in random order.
func TestSortedIsTopologicalAndStable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		ms := []Mount{{Where: "/"}}
		for i := range 30 {
			parent := ms[r.IntN(len(ms))].Where
			m := Mount{Where: path.Join(parent, string(rune('a'+i)))}
			if d := ms[r.IntN(len(ms))].Where; r.IntN(4) == 0 {
				m.Depends = []string{path.Join(d, "below")}
			}
			ms = append(ms, m)
		}
		r.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })

		before := slices.Clone(ms)
		once := sorted(ms)
		if len(once) != len(ms) {
			t.Fatalf("sorted() has %d mounts; want %d", len(once), len(ms))
		}
		at := newIndex(once)
		for i := range once {
			for _, j := range at.needs(once, i) {
				if j > i {
					t.Fatalf("sorted(): %s comes before %s, which it needs", once[i].Where, once[j].Where)
				}
			}
		}
		if diff := cmp.Diff(once, sorted(once)); diff != "" {
			t.Fatalf("sorted() changes what is sorted (-once +twice):\n%s", diff)
		}
		if !slices.EqualFunc(ms, before, func(a, b Mount) bool { return a.Where == b.Where }) {
			t.Fatal("sorted() changed its argument")
		}
	}
}
