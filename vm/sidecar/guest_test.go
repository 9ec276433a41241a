package sidecar_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/vm/agent"
	"github.com/mvmrun/mvm/vm/initrd"
	"github.com/mvmrun/mvm/vm/kmod"
)

// kernelDir is Debian's kernel package, unpacked and indexed by scripts/setup.
const kernelDir = "../../build/kernel"

// bootLimit is a deadline against hanging, not a claim: a boot under TCG takes
// two to ten seconds here.
const bootLimit = 3 * time.Minute

// sh is the guest's shell; its store is a share.
const sh = "/nix/store/0001-busybox/bin/sh"

// A guest is a machine without any disk whose store is the first of its shares.
type guest struct {
	t       *testing.T
	proc    *qemu.Process
	agent   *agent.Client
	console *console
}

// makeStore makes a directory with a busybox and an init, like a host's store.
func makeStore(t *testing.T) string {
	t.Helper()
	store := t.TempDir()
	bin := filepath.Join(store, "0001-busybox/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v (install busybox-static)", err)
	}
	write(t, filepath.Join(bin, "busybox"), string(program), 0o755)
	for _, applet := range []string{"sh", "cat", "chown", "echo", "id", "ip", "ls", "mkdir", "mount", "nc", "rm", "sleep", "stat", "tftp", "touch", "udhcpc", "wget"} {
		if err := os.Symlink("busybox", filepath.Join(bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(store, "init"), "#!"+sh+"\nwhile :; do /nix/store/0001-busybox/bin/sleep 1000; done\n", 0o755)
	return store
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// boot starts a guest with the machine's shares, each where the map of tags
// says, and its network cards, and waits until the guest is ready.
func boot(t *testing.T, m qemu.Machine, where map[string]string, files map[string]*os.File) *guest {
	t.Helper()
	meter := qemu.StartTSC()
	kernels, _ := filepath.Glob(kernelDir + "/boot/vmlinuz-*")
	if len(kernels) != 1 {
		t.Fatalf("%d kernels in %s (run scripts/setup)", len(kernels), kernelDir)
	}
	plan := mounts.Plan{Version: mounts.Version, Mounts: []mounts.Mount{
		{Where: "/", Type: "tmpfs", What: "rootfs", Options: []string{"size=50%,mode=0755"}},
	}}
	for _, s := range m.Shares {
		plan.Mounts = append(plan.Mounts, mounts.Mount{Where: where[s.Tag], Type: "virtiofs", What: s.Tag})
	}
	tree, err := kmod.Open(kernelDir)
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	modules, err := tree.Resolve(append(kmod.ForMachine(kmod.Machine{Network: len(m.NICs) > 0}), kmod.ForPlan(plan)...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	t.Cleanup(cancel)
	var image bytes.Buffer
	orders := handoff.Boot{Plan: plan, Init: []string{"/nix/store/init"}}
	if err := initrd.Build(ctx, &image, initrd.Spec{Boot: orders, Modules: modules, Unsigned: true}); err != nil {
		t.Fatalf("%v (run go generate ./vm/initrd)", err)
	}
	kernel, err := filepath.Abs(kernels[0])
	if err != nil {
		t.Fatal(err)
	}
	m.Name, m.Kernel, m.Initrd = "sidecar", kernel, filepath.Join(t.TempDir(), "initrd")
	m.Mem, m.Console, m.Agent, m.TSCKHz = 256, true, handoff.PortName, meter.KHz()
	write(t, m.Initrd, image.String(), 0o644)
	m.Append = strings.Join(m.KernelParams(), " ")

	proc, err := qemu.Start(ctx, m, qemu.StartOptions{Dir: "/", Files: files})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, proc: proc, agent: agent.New(proc.Agent()), console: new(console)}
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(g.console, proc.Console()) })
	t.Cleanup(func() {
		g.proc.Close()
		g.agent.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("console:\n%s\nQEMU:\n%s", g.console, proc.Stderr())
		}
	})
	if err := proc.QMP().Cont(ctx); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case e, ok := <-g.agent.Events():
			switch {
			case !ok:
				t.Fatalf("the agent's channel ended: %v", g.agent.Err())
			case e.Failed != nil:
				t.Fatalf("the guest failed: %+v", e.Failed)
			case e.Ready != nil:
				return g
			}
		case <-ctx.Done():
			t.Fatal("the guest was not ready in time")
		}
	}
}

// sh runs a script in the guest and returns what it printed, without the last
// line's end.
func (g *guest) sh(script string) string {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), bootLimit)
	defer cancel()
	s, err := g.agent.Start(ctx, handoff.Exec{Argv: []string{sh, "-c", script}, Env: []string{"PATH=" + filepath.Dir(sh)}})
	if err != nil {
		g.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if _, err := s.Run(ctx, strings.NewReader(""), &stdout, &stderr); err != nil {
		g.t.Fatal(err)
	}
	return strings.TrimSuffix(stdout.String()+stderr.String(), "\n")
}

// want runs a script in the guest and compares what it printed.
func (g *guest) want(script, want string) {
	g.t.Helper()
	if got := g.sh(script); got != want {
		g.t.Errorf("in the guest, %s\nprints %q; want %q", script, got, want)
	}
}

// A console keeps what the guest prints.
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
