package mounts

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/golden from the current output")

// golden compares got with a file of testdata/golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (accept the output with: go test ./mounts -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s changed (-want +got), accept it with: go test ./mounts -update\n%s", name, diff)
	}
}

// run returns what a tool writes to standard output and standard error. A tool
// that is missing fails the test and says which package of Debian has it.
func run(t *testing.T, pkg, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is not installed; try: apt-get install %s", name, pkg)
	}
	var out, errs strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// mustFor is For of a definition that has no mistake.
func mustFor(t testing.TB, c Config) Plan {
	t.Helper()
	p, err := For(c)
	if err != nil {
		t.Fatalf("For(%+v): %v", c, err)
	}
	return p
}

// A sample is a definition whose renderings are kept.
type sample struct {
	name   string
	config Config
}

func samples() []sample {
	return []sample{
		{"disk", Config{StoreOnDisk: true}},
		{"overlay-volume", Config{
			StoreOnDisk: true, StoreDiskType: "squashfs", WritableStoreOverlay: "/nix/.rw-store",
			Volumes: []Volume{
				{Image: "rw.img", MountPoint: "/nix/.rw-store", Label: "rw-store", Grow: true},
				{Image: "spare.img"},
				{Image: "data.img", MountPoint: "/var/data", FSType: "xfs", Serial: "DATA-1", ReadOnly: true},
			},
		}},
		{"host-store-bound", Config{
			Shares: []Share{
				{Tag: "ro-store", Source: "/nix/store", MountPoint: "/nix/.ro-store", Proto: "9p", ReadOnly: true},
				{Tag: "home", Source: "/home", MountPoint: "/home", Proto: "virtiofs"},
			},
		}},
		{"overlay-share", Config{
			WritableStoreOverlay: "/persist/rw",
			Shares: []Share{
				{Tag: "store", Source: "/nix/store", MountPoint: "/mnt/store", Proto: "virtiofs"},
				{Tag: "rw", Source: "/srv/rw", MountPoint: "/persist/rw", Proto: "virtiofs"},
			},
			Volumes: []Volume{
				{Image: "persist.img", MountPoint: "/persist"},
				{Image: "root.img", MountPoint: "/", FSType: "btrfs", Label: "root", Grow: true},
			},
		}},
		{"names", Config{
			StoreOnDisk: true, WritableStoreOverlay: "/srv/my $rw 50%",
			Volumes: []Volume{
				{Image: "1", MountPoint: "/srv/my $rw 50%", Grow: true},
				{Image: "2", MountPoint: `/srv/"a"\b'c,d`},
				{Image: "3", MountPoint: "/.hidden/é-x", Label: "a b"},
				{Image: "4", MountPoint: "/srv/${x}#1", Label: "a long label's name", FSType: "btrfs"},
			},
			Shares: []Share{{Tag: "#tag 1", Source: "/srv", MountPoint: "/srv/#", Proto: "9p"}},
		}},
	}
}

// A planned is a plan whose renderings are kept.
type planned struct {
	name string
	plan Plan
}

// plans are those of the samples, and one written by hand with what the rules
// never yield.
func plans(t testing.TB) []planned {
	t.Helper()
	byHand := Plan{Version: Version, Mounts: []Mount{
		{Where: "/", Type: "ext4", Disk: &Disk{Label: "root", Position: -1}, Options: []string{"rw", "noatime"}},
		{Where: "/a", Type: "vfat", Disk: &Disk{Position: 1}, Options: []string{"x-systemd.after=a.service,nodev", "x-systemd.before=b.service"}},
		{Where: "/b c", Type: "tmpfs", What: "b", Options: []string{"x-systemd.requires-mounts-for=/a"}, Dirs: []string{"/a/x", "/a/y"}},
		{
			Where: "/o", Type: "overlay", What: "overlay",
			Options: []string{"lowerdir=/a:/b c"}, Depends: []string{"/a", "/b c"}, NeededForBoot: true,
		},
	}}
	if err := byHand.Check(); err != nil {
		t.Fatal(err)
	}
	all := []planned{{"by-hand", byHand}}
	for _, s := range samples() {
		all = append(all, planned{s.name, mustFor(t, s.config)})
	}
	return all
}

// indent puts two spaces before each line.
func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}
