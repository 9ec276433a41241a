package test_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/test"
)

// A pid1 is a systemd of its own, with this host's programs: the first process of
// name spaces that see this host's files below an overlay, so that whatever it
// changes is in a directory of the test's.
type pid1 struct {
	t     *testing.T // of the step that runs
	upper string     // what differs from this host's files
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan struct{}
}

// masked are units of this host that have no business in a test: they take time, or
// change the kernel that the host shares with it.
var masked = []string{
	"systemd-sysctl.service", "systemd-udevd.service", "systemd-udev-trigger.service",
	"systemd-modules-load.service", "systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service",
	"systemd-binfmt.service", "systemd-remount-fs.service", "systemd-sysusers.service", "systemd-hwdb-update.service",
	"systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-timesyncd.service", "systemd-pstore.service",
	"dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	"sys-fs-fuse-connections.mount", "systemd-logind.service",
	"getty.target", "console-getty.service", "timers.target", "postgresql.service", "ssh.service", "cron.service",
}

// newPID1 prepares a systemd. It is not booted yet.
func newPID1(t *testing.T, h *test.Host) *pid1 {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("a systemd of its own needs mounts: run this test as root")
	}
	for program, pkg := range map[string]string{"/lib/systemd/systemd": "systemd", "nsenter": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v (install the package %s)", err, pkg)
		}
	}
	p := &pid1{t: t, upper: filepath.Join(h.Dir, "upper"), ended: make(chan struct{})}
	for _, dir := range []string{p.upper, filepath.Join(h.Dir, "work"), filepath.Join(h.Dir, "root")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, unit := range masked {
		p.link("/etc/systemd/system/"+unit, "/dev/null")
	}
	p.link("/etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
	p.write("/etc/systemd/journald.conf", "[Journal]\nStorage=volatile\nAudit=no\nRateLimitBurst=0\n")
	mvm, err := os.ReadFile(test.Program)
	if err != nil {
		t.Fatal(err)
	}
	p.write("/usr/local/bin/mvm", string(mvm))
	if err := os.Chmod(filepath.Join(p.upper, "/usr/local/bin/mvm"), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// write makes a file of the system.
func (p *pid1) write(path, text string) {
	p.t.Helper()
	path = filepath.Join(p.upper, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	write(p.t, path, text)
}

func (p *pid1) link(path, to string) {
	p.t.Helper()
	path = filepath.Join(p.upper, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		p.t.Fatal(err)
	}
}

// bootScript makes the system's mounts, runs $2 in it, and becomes its systemd.
const bootScript = `set -e
cd "$1"
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for node in null zero full random urandom tty kvm; do
  [ ! -e /dev/$node ] || { : >dev/$node; mount --bind /dev/$node dev/$node; }
done
chroot . /bin/sh -c "$2"
exec env -i container=mvm-test PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd --system
`

// boot boots the system after running a shell command in it, and returns when
// everything that starts with it has started.
func (p *pid1) boot(first string) {
	p.t.Helper()
	group, fd := p.cgroup()
	p.cmd = exec.Command("/bin/sh", "-c", bootScript, "boot", filepath.Dir(p.upper), first)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP,
		UseCgroupFD: true, CgroupFD: int(fd.Fd()), Pdeathsig: syscall.SIGKILL,
	}
	started := make(chan error)
	go func() { // ends with the system, which the clean-up kills
		// The parent-death signal comes when the thread ends (go.dev/issue/27505).
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.ended)
		}
	}()
	err := <-started
	fd.Close()
	if err != nil {
		p.t.Fatal(err)
	}
	t := p.t
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := p.run("journalctl", "--no-pager", "-o", "short-monotonic")
			t.Logf("the journal:\n%s\nthe console:\n%s", out, p.said.String())
		}
		_ = p.cmd.Process.Kill()
		<-p.ended
		removeCgroups(t, group)
	})
	p.until("systemd answers", func() bool {
		out, _ := p.run("systemctl", "is-system-running", "--wait")
		return slices.Contains([]string{"running\n", "degraded\n"}, out)
	})
}

// cgroup makes a control group for the system, of which it sees nothing else.
func (p *pid1) cgroup() (path string, fd *os.File) {
	p.t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); slices.Contains(f[6:], "cgroup2") {
			path = filepath.Join(f[4], "mvm-test-"+strconv.Itoa(os.Getpid()))
		}
	}
	if path == "" {
		p.t.Fatal("no cgroup2 is mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified)")
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		p.t.Fatal(err)
	}
	if fd, err = os.Open(path); err != nil {
		p.t.Fatal(err)
	}
	return path, fd
}

// removeCgroups removes a control group and those in it, which are empty now.
func removeCgroups(t *testing.T, path string) {
	var dirs []string
	_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		if err := syscall.Rmdir(dir); err != nil {
			t.Errorf("left behind: the control group %s: %v", dir, err)
		}
	}
}

// step is a subtest that may use the system.
func (p *pid1) step(name string, f func(*testing.T)) {
	p.t.Helper()
	ok := p.t.Run(name, func(t *testing.T) {
		defer func(t *testing.T) { p.t = t }(p.t)
		p.t = t
		f(t)
	})
	if !ok {
		p.t.FailNow() // the next steps would fail for the same reason
	}
}

// run runs a program of the system's and returns its output.
func (p *pid1) run(arg ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), test.Limit)
	defer cancel()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	// Its environment is a service's.
	args := append([]string{"-t", pid, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "env", "-i",
		"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER="}, arg...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.WaitDelay = 10 * time.Second
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stdout
	err := cmd.Run()
	return stdout.String(), err
}

// must is run for what must succeed.
func (p *pid1) must(arg ...string) string {
	p.t.Helper()
	out, err := p.run(arg...)
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", strings.Join(arg, " "), err, out)
	}
	return out
}

// show is a property of a unit.
func (p *pid1) show(unit, property string) string {
	p.t.Helper()
	return strings.TrimSpace(p.must("systemctl", "show", "--timestamp=us+utc", "--value", "-p", property, unit))
}

// until returns when something holds, which it must within the time that a run of
// mvm may take.
func (p *pid1) until(what string, holds func() bool) {
	p.t.Helper()
	for end := time.Now().Add(test.Limit); !holds(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-p.ended:
			p.t.Fatalf("systemd has ended before %s:\n%s", what, p.said.String())
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("not within %v: %s", test.Limit, what)
		}
	}
}
