package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
)

// inMounts runs the test again as the only one in a process with a mount
// namespace of its own, and returns true there.
func inMounts(t *testing.T) bool {
	t.Helper()
	const mark = "MVM_TEST_IN_MOUNTS"
	if os.Getenv(mark) != "" {
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a mount namespace (run as root): %v\n%s", err, out)
	}
	return false
}

// scratch returns a directory, and undoes the mounts below it before the
// directory is removed.
func scratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		list, err := readMountInfo()
		if err != nil {
			t.Error(err)
		}
		for _, m := range slices.Backward(list) {
			if strings.HasPrefix(m.Where, dir) {
				_ = unix.Unmount(m.Where, unix.MNT_DETACH)
			}
		}
	})
	return dir
}

func TestMountPlanForReal(t *testing.T) {
	if !inMounts(t) {
		return
	}
	root := scratch(t)
	tmpfs := func(where string, options ...string) mounts.Mount {
		return mounts.Mount{Where: root + where, Type: "tmpfs", What: "test", Options: options}
	}
	list := []mounts.Mount{
		tmpfs("/a", "size=50%,mode=0750", "nosuid", "x-systemd.automount"),
		tmpfs("/a/deep/below", "ro,noexec"),
		{Where: root + "/bound", What: root + "/a", Options: []string{"bind"}, Added: []string{"ro"}},
		{Where: root + "/file", What: "/etc/passwd", Options: []string{"bind"}},
		{Where: root + "/overlay", Type: "overlay", What: "overlay",
			Options: []string{"lowerdir=" + root + "/bound", "upperdir=" + root + "/a/rw/upper", "workdir=" + root + "/a/rw/work"},
			Dirs:    []string{root + "/a/rw/upper", root + "/a/rw/work"}},
		tmpfs("/shared", "rshared"),
	}
	// The overlay's upper directory may not lie in its lower one.
	list[4].Options[0] = "lowerdir=" + root + "/a/deep/below"
	for _, m := range list {
		if err := mount(m, source{path: m.What}, m.Where); err != nil {
			t.Fatal(err)
		}
	}
	info, err := readMountInfo()
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(mounts.Plan{Mounts: list}, info); err != nil {
		t.Error(err)
	}
	for where, want := range map[string]string{"/a": "rw,nosuid", "/a/deep/below": "ro,noexec", "/bound": "ro,nosuid"} {
		i := slices.IndexFunc(info, func(m mounts.MountInfo) bool { return m.Where == root+where })
		got := strings.Join(info[i].Options, ",")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s has options %s; want %s…", where, got, want)
		}
	}
	if st, err := os.Stat(root + "/a"); err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("/a = %v, %v; want mode 0750", st.Mode(), err)
	}
	if err := os.WriteFile(root+"/bound/x", nil, 0o644); err == nil {
		t.Error("a read-only bind mount was written to")
	}
	if err := os.WriteFile(root+"/overlay/x", nil, 0o644); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root + "/a/rw/upper/x"); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !strings.Contains(string(b), root+"/shared rw,relatime shared:") {
		t.Errorf("/shared is not shared:\n%s", b)
	}
}

func TestMountThatIsRefusedSaysWhy(t *testing.T) {
	if !inMounts(t) {
		return
	}
	dir := scratch(t)
	tests := []struct {
		mount  mounts.Mount
		want   string
		detail string
	}{
		{mounts.Mount{Where: dir + "/x", Type: "nonesuchfs", What: "x"}, "mount nonesuchfs on DIR/x: the kernel has no support for nonesuchfs", "tmpfs"},
		{mounts.Mount{Where: dir + "/y", Type: "tmpfs", What: "x", Options: []string{"bogus=1"}}, "mount tmpfs on DIR/y: invalid argument", ""},
		{mounts.Mount{Where: dir + "/z", What: dir + "/gone"}, "bind DIR/gone on DIR/z: no such file or directory", ""},
		{mounts.Mount{Where: "/proc/mvm/x", Type: "tmpfs", What: "x"}, "mount tmpfs on /proc/mvm/x: make directory /proc/mvm/x: mkdir /proc/mvm: no such file or directory", ""},
	}
	for _, tt := range tests {
		m := message(mount(tt.mount, source{path: tt.mount.What}, tt.mount.Where))
		if got := strings.ReplaceAll(m.Op+": "+m.Err, dir, "DIR"); got != tt.want || !strings.Contains(m.Detail, tt.detail) {
			t.Errorf("mount(%+v) = %q, %q; want %q, …%q…", tt.mount, got, m.Detail, tt.want, tt.detail)
		}
	}
}

func TestInsideResolvesLinksInTheNewRoot(t *testing.T) {
	if !inMounts(t) {
		return
	}
	root := scratch(t)
	if err := unix.Mount("root", root, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", root+"/nix"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	err := inside(root, func() error {
		return mount(mounts.Mount{Where: "/nix/store", Type: "tmpfs", What: "x"}, source{path: "x"}, "/nix/store")
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/etc/store"); err == nil {
		t.Error("a link in the new root led to the old one")
	}
	if _, err := os.Stat(root + "/etc/store"); err != nil {
		t.Error(err)
	}
	if wd, err := os.Getwd(); err != nil || strings.HasPrefix(wd, root) {
		t.Errorf("the process's directory is %s, %v; want it unchanged", wd, err)
	}
	if err := inside(root, func() error { panic("at the disco") }); err == nil || !strings.Contains(err.Error(), "panic: at the disco") {
		t.Errorf("inside() of a panic = %v", err)
	}
}

func TestEmptyLeavesOtherFileSystems(t *testing.T) {
	if !inMounts(t) {
		return
	}
	root, other := scratch(t), scratch(t)
	for _, dir := range []string{root, other} {
		if err := unix.Mount("t", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{root + "/sub/deep", root + "/mnt-root", other + "/d"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("t", root+"/mnt-root", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{root + "/init", root + "/sub/deep/f", root + "/mnt-root/kept", other + "/d/kept"} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(other, root+"/link"); err != nil {
		t.Fatal(err)
	}
	empty(root)
	left, err := filepath.Glob(root + "/*")
	if err != nil || len(left) != 1 || left[0] != root+"/mnt-root" {
		t.Errorf("empty() left %q, %v; want the mount point alone", left, err)
	}
	for _, file := range []string{root + "/mnt-root/kept", other + "/d/kept"} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func TestOrdersThatAreWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot.json")
	for _, content := range []string{"", "{", `{"version":99}`, `{"version":1,"init":["/i"],"plan":{"version":1,"mounts":[]}}`} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readOrders(path); err == nil || !strings.HasPrefix(err.Error(), "read "+path+": ") {
			t.Errorf("readOrders(%q) = %v; want an error that names the file", content, err)
		}
	}
	if _, err := readOrders("/none/such"); errorText(err) != "read /none/such: no such file or directory" {
		t.Errorf("readOrders(/none/such) = %v", err)
	}
}
