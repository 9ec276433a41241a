package mounts

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// realPlan needs no disk: its store is a tmpfs, which overlayfs takes as well.
func realPlan() Plan {
	return Plan{Version: Version, Mounts: []Mount{
		{Where: "/", Type: "tmpfs", What: "rootfs", Options: []string{"size=50%,mode=0755"}},
		{Where: "/ro store", Type: "tmpfs", What: "store", Added: []string{"ro"}},
		{Where: "/rw", Type: "tmpfs", What: "rw", Options: []string{"nosuid", "nodev"}},
		{
			Where: "/nix/store", Type: "overlay", What: "overlay",
			Options: []string{"lowerdir=/ro store", "upperdir=/rw/store", "workdir=/rw/work"},
			Depends: []string{"/ro store", "/rw"}, Dirs: []string{"/rw/store", "/rw/work"},
		},
		{Where: "/bound", What: "/rw/sub/dir", Options: []string{"bind"}, Added: []string{"ro"}, Dirs: []string{"/rw/sub/dir"}},
		{Where: "/bound-too", What: "/ro store", Options: []string{"bind", "ro"}},
	}}
}

// inNamespace mounts a plan for real in a mount namespace of its own, as
// mvm-init does: under a new root, and then from inside it. It calls change in
// there and returns the mountinfo that the thread then sees.
func inNamespace(t *testing.T, p Plan, change func(t *testing.T)) []MountInfo {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root; run the test as root")
	}
	root := t.TempDir()
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		text, err := mountInThread(t, root, p, change)
		done <- result{text, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	all, err := ParseMountInfo(string(r.text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mountInThread(t *testing.T, root string, p Plan, change func(t *testing.T)) ([]byte, error) {
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	for i, m := range p.Mounts {
		where := m.Where
		if i == 0 {
			where = root
		}
		if err := mountOne(m, where); err != nil {
			return nil, &os.PathError{Op: "mount", Path: m.Where, Err: err}
		}
		if i == 0 {
			if err := syscall.Chroot(root); err != nil {
				return nil, os.NewSyscallError("chroot", err)
			}
			if err := os.Chdir("/"); err != nil {
				return nil, err
			}
		}
	}
	if change != nil {
		change(t)
	}
	fd, err := syscall.Openat(int(proc.Fd()), "thread-self/mountinfo", syscall.O_RDONLY, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	f := os.NewFile(uintptr(fd), "mountinfo")
	defer f.Close()
	var text strings.Builder
	_, err = f.WriteTo(&text)
	return []byte(text.String()), err
}

func mountOne(m Mount, where string) error {
	for _, d := range append(slices.Clone(m.Dirs), where) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	var flags uintptr
	var data []string
	for _, o := range m.AllOptions() {
		switch o {
		case "bind":
			flags |= syscall.MS_BIND
		case "ro":
			flags |= syscall.MS_RDONLY
		case "nosuid":
			flags |= syscall.MS_NOSUID
		case "nodev":
			flags |= syscall.MS_NODEV
		default:
			data = append(data, o)
		}
	}
	if err := syscall.Mount(m.What, where, m.Type, flags, strings.Join(data, ",")); err != nil {
		return err
	}
	if m.Bind() && m.ReadOnly() {
		return syscall.Mount("none", where, "", flags|syscall.MS_REMOUNT, "")
	}
	return nil
}

func TestCompareOfRealMounts(t *testing.T) {
	p := realPlan()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	tests := []struct {
		name   string
		change func(t *testing.T)
		want   []string // place and text of each difference
	}{
		{"as planned", nil, nil},
		{"more than planned", func(t *testing.T) {
			must(t, os.Mkdir("/extra", 0o755))
			must(t, syscall.Mount("extra", "/extra", "tmpfs", 0, ""))
		}, nil},
		{"one is missing", func(t *testing.T) {
			must(t, syscall.Unmount("/nix/store", 0))
		}, []string{"/nix/store is not mounted"}},
		{"writable", func(t *testing.T) {
			must(t, syscall.Mount("none", "/ro store", "", syscall.MS_REMOUNT|syscall.MS_BIND, ""))
			must(t, syscall.Mount("none", "/ro store", "", syscall.MS_REMOUNT, ""))
			must(t, syscall.Mount("none", "/bound", "", syscall.MS_REMOUNT|syscall.MS_BIND, ""))
		}, []string{
			"/ro store can be written, but is to be read-only",
			"/bound can be written, but is to be read-only",
		}},
		{"read-only", func(t *testing.T) {
			must(t, syscall.Mount("none", "/rw", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY|syscall.MS_NOSUID, ""))
		}, []string{"/rw is read-only, but is to be writable"}},
		{"options taken away", func(t *testing.T) {
			must(t, syscall.Mount("none", "/rw", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_NOSUID, ""))
		}, []string{"/rw lacks the option nodev"}},
		{"NixOS protects the store", func(t *testing.T) {
			must(t, syscall.Mount("/nix/store", "/nix/store", "", syscall.MS_BIND, ""))
			must(t, syscall.Mount("none", "/nix/store", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
		}, nil},
		{"hidden from above", func(t *testing.T) {
			must(t, syscall.Mount("x", "/nix", "tmpfs", 0, ""))
		}, []string{"/nix/store is hidden by a mount on /nix"}},
		{"hidden in place", func(t *testing.T) {
			must(t, syscall.Mount("x", "/nix/store", "tmpfs", 0, ""))
		}, []string{"/nix/store is hidden by a mount on the same place"}},
		{"another tag", func(t *testing.T) {
			must(t, syscall.Unmount("/nix/store", 0))
			must(t, syscall.Unmount("/bound", 0))
			must(t, syscall.Unmount("/rw", 0))
			must(t, syscall.Mount("wr", "/rw", "tmpfs", 0, ""))
		}, []string{
			`/rw is mounted from "wr", not "rw"`,
			"/nix/store is not mounted",
			"/bound is not mounted",
		}},
		{"another overlay", func(t *testing.T) {
			must(t, syscall.Unmount("/nix/store", 0))
			must(t, syscall.Mount("overlay", "/nix/store", "overlay", 0, "lowerdir=/bound,upperdir=/rw/store,workdir=/rw/work"))
		}, []string{"/nix/store has lowerdir /bound, not /ro store"}},
		{"an overlay that cannot be written", func(t *testing.T) {
			must(t, syscall.Unmount("/nix/store", 0))
			must(t, syscall.Mount("overlay", "/nix/store", "overlay", 0, "lowerdir=/bound:/ro store"))
		}, []string{"/nix/store has lowerdir /bound:/ro store, not /ro store"}},
		{"another directory bound", func(t *testing.T) {
			must(t, syscall.Unmount("/bound", 0))
			must(t, syscall.Mount("/rw/sub", "/bound", "", syscall.MS_BIND, ""))
		}, []string{"/bound shows /sub of rw, not /rw/sub/dir"}},
		{"another type", func(t *testing.T) {
			must(t, syscall.Unmount("/bound", 0))
			must(t, syscall.Unmount("/nix/store", 0))
			must(t, syscall.Unmount("/rw", 0))
			must(t, syscall.Mount("rw", "/rw", "ramfs", syscall.MS_NOSUID|syscall.MS_NODEV, ""))
		}, []string{"/rw is of type ramfs, not tmpfs", "/nix/store is not mounted", "/bound is not mounted"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := inNamespace(t, p, tt.change)
			var got []string
			for _, d := range p.Compare(all) {
				got = append(got, d.Where+" "+d.Text)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Compare() (-want +got):\n%s\n%v", diff, all)
			}
		})
	}
}

// TestCompareOfAReport uses a report of a guest with disks, as its init sees
// it: the root of the initrd is out of reach.
func TestCompareOfAReport(t *testing.T) {
	p := mustFor(t, Config{
		StoreOnDisk: true, WritableStoreOverlay: "/nix/.rw-store",
		Volumes: []Volume{{Image: "rw", MountPoint: "/nix/.rw-store"}, {Image: "data", MountPoint: "/data", ReadOnly: true}},
		Shares:  []Share{{Tag: "home", Source: "/home", MountPoint: "/home", Proto: "virtiofs"}},
	})
	const report = `21 1 0:20 / / rw,relatime - tmpfs rootfs rw,size=115200k,mode=755
22 21 0:5 / /dev rw - devtmpfs devtmpfs rw
23 21 0:21 / /proc rw - proc proc rw
24 21 254:0 / /nix/.ro-store ro,relatime - erofs /dev/vda ro,user_xattr,acl,cache_strategy=readaround
25 21 254:16 / /nix/.rw-store rw,relatime - ext4 /dev/vdb rw
26 21 0:30 / /nix/store rw,relatime - overlay overlay rw,lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/store,workdir=/nix/.rw-store/work
27 21 254:32 / /data ro,relatime - ext4 /dev/vdc ro
28 21 0:31 / /home rw,relatime - virtiofs home rw
`
	tests := []struct {
		name, old, new string
		want           []Difference
	}{
		{"as planned", "", "", nil},
		{"by way of /sysroot", "=/nix", "=/sysroot/nix", nil},
		{"lower directories one by one", "lowerdir=", "lowerdir+=", nil},
		{"the read-only volume is writable", "ro,relatime - ext4 /dev/vdc ro", "rw,relatime - ext4 /dev/vdc rw", []Difference{{
			"/data", "can be written, but is to be read-only",
			"/dev/disk/by-id/virtio-disk-2 on /data type ext4 (ro)", "/dev/vdc on /data type ext4 (rw,relatime)",
		}}},
		{"one disk twice", "254:32", "254:16", []Difference{{
			"/data", "is mounted from the same disk as /nix/.rw-store",
			"/dev/disk/by-id/virtio-disk-2 on /data type ext4 (ro)", "/dev/vdc on /data type ext4 (ro,relatime)",
		}}},
		{"a part of a disk", "254:32 /", "254:32 /sub", []Difference{{
			"/data", "shows only /sub of its file system",
			"/dev/disk/by-id/virtio-disk-2 on /data type ext4 (ro)", "/dev/vdc on /data type ext4 (ro,relatime)",
		}}},
		{"a file system gone", "28 21 0:31 / /home rw,relatime - virtiofs home rw\n", "", []Difference{{
			"/home", "is not mounted", "home on /home type virtiofs (defaults,x-systemd.requires=systemd-modules-load.service)", "",
		}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(report, tt.old) {
				t.Fatalf("the report has no %q", tt.old)
			}
			all, err := ParseMountInfo(strings.ReplaceAll(report, tt.old, tt.new))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, p.Compare(all)); diff != "" {
				t.Errorf("Compare() (-want +got):\n%s", diff)
			}
		})
	}
	if got := len(p.Compare(nil)); got != len(p.Mounts) {
		t.Errorf("Compare() of an empty report = %d differences; want %d", got, len(p.Mounts))
	}
	d := Difference{Where: "/a", Text: "is not mounted", Want: "x"}
	if got, want := d.String(), "/a is not mounted\n  planned: x\n  mounted: nothing"; got != want {
		t.Errorf("String() = %q; want %q", got, want)
	}
}
