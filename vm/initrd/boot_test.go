package initrd_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/initrd"
	"github.com/mvmrun/mvm/vm/kmod"
)

// kernelDir is Debian's kernel package, unpacked and indexed by scripts/setup.
const kernelDir = "../../build/kernel"

// bootLimit is a deadline against hanging, not a claim: a boot under TCG takes
// two to ten seconds here.
const bootLimit = 3 * time.Minute

// Paths of the store that makeStore makes.
const (
	busybox = "/nix/store/0001-busybox/bin/busybox"
	sh      = "/nix/store/0001-busybox/bin/sh"
	initOK  = "/nix/store/0002-system/init"
)

// makeStore makes a store disk with a busybox and a system, and returns the
// image's path.
func makeStore(t *testing.T) string {
	t.Helper()
	store := filepath.Join(t.TempDir(), "store")
	bin := filepath.Join(store, "0001-busybox/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v (install busybox-static)", err)
	}
	writeFile(t, filepath.Join(bin, "busybox"), string(program), 0o755)
	for _, applet := range []string{"sh", "cat", "sleep", "tty", "dd", "init", "reboot"} {
		if err := os.Symlink("busybox", filepath.Join(bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	system := filepath.Join(store, "0002-system")
	writeFile(t, filepath.Join(system, "init"), "#!"+sh+"\necho init runs as $$ with $1\nwhile :; do "+busybox+" sleep 1000; done\n", 0o755)
	writeFile(t, filepath.Join(system, "init-exits-7"), "#!"+sh+"\nexec /run/mvm/poweroff 7\n", 0o755)
	writeFile(t, filepath.Join(system, "no-interpreter"), "#!/nix/store/0009-gone/bin/sh\n", 0o755)
	writeFile(t, filepath.Join(system, "not-executable"), "#!"+sh+"\n", 0o644)
	image := filepath.Join(t.TempDir(), "store.erofs")
	run(t, "mkfs.erofs", "erofs-utils", "-T1", image, store)
	return image
}

func writeFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name, debianPackage string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (install %s)\n%s", name, err, debianPackage, out)
	}
}

// plain is a plan of a root in memory and the store disk.
func plain() mounts.Plan {
	return mounts.Plan{Version: mounts.Version, Mounts: []mounts.Mount{
		{Where: "/", Type: "tmpfs", What: "rootfs", Options: []string{"size=50%,mode=0755"}},
		{Where: "/nix/store", Type: "erofs", Disk: &mounts.Disk{Serial: "nix-store", Label: "nix-store"}, NoCheck: true,
			Options: []string{"x-systemd.requires=systemd-modules-load.service"}},
	}}
}

// writable is plain with an overlay in memory over the store.
func writable() mounts.Plan {
	p := plain()
	p.Mounts[1].Where = "/nix/.ro-store"
	p.Mounts = append(p.Mounts, mounts.Mount{
		Where: "/nix/store", Type: "overlay", What: "overlay",
		Options: []string{"lowerdir=/nix/.ro-store", "upperdir=/nix/.rw-store/store", "workdir=/nix/.rw-store/work"},
		Depends: []string{"/nix/.ro-store"},
		Dirs:    []string{"/nix/.rw-store/store", "/nix/.rw-store/work"},
	})
	return p
}

// A drive is a disk of a test's machine.
type drive struct {
	image, serial string
	writable      bool
}

// A machine is a guest under QEMU. Its console is printed if the test fails.
type machine struct {
	t       *testing.T
	ctx     context.Context //nolint:containedctx // the test's own, and its deadline
	agent   *agent.Client
	console *console
	exited  chan error // buffered 1: what QEMU ended with
}

// start boots a guest with the given orders and drives.
func start(t *testing.T, boot handoff.Boot, drives ...drive) *machine {
	t.Helper()
	return startOn(t, microvm, boot, drives...)
}

// A board is a type of machine.
type board struct {
	pci  bool
	args []string
	bus  string // what ends the names of virtio devices on it
	qmp  *os.File
}

var microvm = board{bus: "device", args: []string{
	"-M", "microvm,acpi=on,pcie=off,pit=on,pic=on,rtc=on,x-option-roms=off",
	"-global", "virtio-mmio.force-legacy=false",
}}

// startOn is start on a machine of another type.
func startOn(t *testing.T, on board, boot handoff.Boot, drives ...drive) *machine {
	t.Helper()
	kernel := find(t, kernelDir+"/boot/vmlinuz-*")
	tree, err := kmod.Open(kernelDir)
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	wants := kmod.ForMachine(kmod.Machine{PCI: on.pci, Disks: len(boot.Plan.Mounts) > 1})
	for _, w := range kmod.ForPlan(boot.Plan) {
		w.Optional = true // what is missing is for the guest to say
		wants = append(wants, w)
	}
	modules, err := tree.Resolve(wants)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	t.Cleanup(cancel)
	image := filepath.Join(t.TempDir(), "initrd")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := initrd.Build(ctx, f, initrd.Spec{Boot: boot, Modules: modules, Registration: []byte("registered\n")}); err != nil {
		t.Fatalf("%v (run go generate ./vm/initrd)", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "agent"), os.NewFile(uintptr(pair[1]), "agent")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()

	args := append(slices.Clone(on.args),
		"-accel", "tcg",
		"-cpu", "qemu64,+arat", "-m", "256", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-serial", "stdio",
		"-kernel", kernel, "-initrd", image,
		"-append", "console=ttyS0 reboot=t panic=-1 quiet tsc_early_khz="+tscKHz(t)+" tsc=reliable cryptomgr.notests",
		"-chardev", "socket,id=agent,fd=3", "-device", "virtio-serial-"+on.bus,
		"-device", "virtserialport,chardev=agent,name="+handoff.PortName,
	)
	for i, d := range drives {
		args = append(args, "-drive", fmt.Sprintf("id=d%d,if=none,format=raw,read-only=%s,file=%s", i, onOff(!d.writable), d.image),
			"-device", fmt.Sprintf("virtio-blk-%s,drive=d%d,serial=%s", on.bus, i, d.serial))
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	m := &machine{t: t, ctx: ctx, agent: agent.New(conn), console: &console{}, exited: make(chan error, 1)}
	cmd.ExtraFiles = []*os.File{theirs}
	if on.qmp != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, on.qmp)
	}
	cmd.Stdout, cmd.Stderr = m.console, m.console
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (install qemu-system-x86)", err)
	}
	go func() { m.exited <- cmd.Wait() }() // ends with QEMU, which ends with ctx
	t.Cleanup(func() {
		cancel()
		m.agent.Close()
		if t.Failed() {
			t.Logf("console:\n%s", m.console)
		}
	})
	return m
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func find(t *testing.T, pattern string) string {
	t.Helper()
	files, _ := filepath.Glob(pattern)
	if len(files) != 1 {
		t.Fatalf("%s matches %d files; want one (run scripts/setup)", pattern, len(files))
	}
	return files[0]
}

// tscKHz spares the guest a calibration that fails now and then under TCG.
func tscKHz(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "cpu MHz\t\t: ")
	mhz, _, _ := strings.Cut(after, ".")
	return mhz + "000"
}

// event returns the guest's next word.
func (m *machine) event() agent.Event {
	m.t.Helper()
	select {
	case e, ok := <-m.agent.Events():
		if !ok {
			m.t.Fatalf("the agent's channel ended: %v", m.agent.Err())
		}
		return e
	case <-m.ctx.Done():
		m.t.Fatal("the guest said nothing")
	}
	panic("unreachable")
}

// ready waits for the guest's hello and ready.
func (m *machine) ready() *handoff.Ready {
	m.t.Helper()
	if e := m.event(); e.Hello == nil {
		m.t.Fatalf("first event = %+v; want hello", e)
	}
	e := m.event()
	if e.Ready == nil {
		m.t.Fatalf("second event = %+v, failed %+v; want ready", e, e.Failed)
	}
	return e.Ready
}

// failed waits for the guest to say why it does not boot, and for its end.
func (m *machine) failed() handoff.Failed {
	m.t.Helper()
	if e := m.event(); e.Hello == nil {
		m.t.Fatalf("first event = %+v; want hello", e)
	}
	e := m.event()
	if e.Failed == nil {
		m.t.Fatalf("second event = %+v; want failed", e)
	}
	m.end()
	if want := "cannot boot, powering off: " + e.Failed.Op; !strings.Contains(m.console.String(), want) {
		m.t.Errorf("the console does not say %q", want)
	}
	return *e.Failed
}

// end waits for QEMU to end, by the guest's power-off.
func (m *machine) end() {
	m.t.Helper()
	select {
	case err := <-m.exited:
		if err != nil {
			m.t.Errorf("qemu: %v", err)
		}
	case <-m.ctx.Done():
		m.t.Fatal("the guest did not power off")
	}
}

// exec runs a command in the guest and returns what it wrote and its code.
func (m *machine) exec(e handoff.Exec, stdin string) (string, handoff.Exited) {
	m.t.Helper()
	s, err := m.agent.Start(m.ctx, e)
	if err != nil {
		m.t.Fatal(err)
	}
	var out console
	exited, err := s.Run(m.ctx, strings.NewReader(stdin), &out, &out)
	if err != nil {
		m.t.Fatal(err)
	}
	return out.String(), exited
}

// A console collects what QEMU and the guest print.
type console struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(b)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}
