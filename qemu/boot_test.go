package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
)

// kernelDir is Debian's kernel package, unpacked by scripts/setup.
const kernelDir = "../build/kernel"

// bootInit does as its kernel's command line says and logs to the console.
const bootInit = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs d /dev
$b mount -t proc p /proc
$b mount -t sysfs s /sys
for m in evdev button pvpanic pvpanic-mmio virtio_ring virtio virtio_mmio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_console
do $b insmod /mod/$m.ko; done
for w in $($b cat /proc/cmdline); do case $w in do=*) what=${w#do=};; esac; done
for f in /sys/class/input/event*/device/name; do
  [ "$($b cat $f)" = "Power Button" ] && d=$f && d=${d%/device/name} && button=/dev/input/${d##*/}
done
case $what in
  poweroff) $b poweroff -f;;
  reboot) $b reboot -f;;
  panic) echo c >/proc/sysrq-trigger;;
  button) exec 3<$button; echo READY; $b dd bs=24 count=1 <&3 >/dev/null; $b poweroff -f;;
  ctrl-alt-del) echo READY; $b sleep 1000;;
  clock)
    echo CLOCK $($b cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
    $b sleep 1
    echo SLEPT; $b poweroff -f;;
  talk)
    exec 3<>/dev/$($b ls /sys/class/virtio-ports)
    echo hello >&3
    while read -r line <&3; do case $line in
      reboot) $b reboot -f;;
      panic) echo c >/proc/sysrq-trigger;;
      *) echo "heard $line" >&3;;
    esac; done;;
esac
$b sleep 1000
`

// bootFiles returns a kernel and an initrd that runs bootInit.
var bootFiles = sync.OnceValues(func() (kernel string, initrd []byte) {
	kernels, _ := filepath.Glob(kernelDir + "/boot/vmlinuz-*")
	if len(kernels) == 0 {
		panic("no kernel in build/kernel: run scripts/setup")
	}
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	add := func(name string, mode cpio.FileMode, data []byte) {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
			panic(err)
		}
		if _, err := w.Write(data); err != nil {
			panic(err)
		}
	}
	file := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			panic(fmt.Errorf("%w (run scripts/setup)", err))
		}
		return data
	}
	for _, d := range []string{"bin", "mod", "dev", "proc", "sys"} {
		add(d, cpio.TypeDir|0o755, nil)
	}
	add("init", cpio.TypeReg|0o755, []byte(bootInit))
	add("bin/busybox", cpio.TypeReg|0o755, file("/bin/busybox"))
	modules := kernelDir + "/lib/modules/" + strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-") + "/kernel/drivers/"
	for _, m := range []string{
		"input/evdev", "acpi/button", "misc/pvpanic/pvpanic", "misc/pvpanic/pvpanic-mmio", "char/virtio_console",
		"virtio/virtio", "virtio/virtio_ring", "virtio/virtio_mmio", "virtio/virtio_pci", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci_legacy_dev",
	} {
		add("mod/"+filepath.Base(m)+".ko", cpio.TypeReg|0o644, file(modules+m+".ko"))
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return kernels[0], b.Bytes()
})

// A bootLog is a guest's console, and tells when the guest is ready.
type bootLog struct {
	ready chan struct{}
	done  chan struct{}
	text  strings.Builder // to be read after done
}

func readConsole(r io.Reader) *bootLog {
	l := &bootLog{ready: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		buf := make([]byte, 4096)
		for seen := false; ; {
			n, err := r.Read(buf)
			l.text.Write(buf[:n])
			if !seen && strings.Contains(l.text.String(), "READY") {
				seen = true
				close(l.ready)
			}
			if err != nil {
				return
			}
		}
	}()
	return l
}

// boot runs a guest that does what to its end. When poke is not nil, it is
// called once the guest is ready.
func boot(t *testing.T, m Machine, what string, poke func(context.Context, *QMP) error) (*Process, string) {
	t.Helper()
	ctx, p, log := startBoot(t, m, what)
	if err := p.QMP().Cont(ctx); err != nil {
		t.Fatal(err)
	}
	if poke != nil {
		select {
		case <-log.ready:
			if err := poke(ctx, p.QMP()); err != nil {
				t.Error(err)
			}
		case <-p.Done():
		case <-ctx.Done():
		}
	}
	err := p.Wait(ctx)
	p.Close()
	<-log.done
	if err != nil {
		t.Fatalf("Wait() = %v; want nil\n%s", err, log.text.String())
	}
	return p, log.text.String()
}

// startBoot starts a machine whose guest, once it may run, does what.
func startBoot(t *testing.T, m Machine, what string) (context.Context, *Process, *bootLog) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, fmt.Errorf("the guest hangs"))
	t.Cleanup(cancel)
	kernel, initrd := bootFiles()
	m.Kernel, m.Initrd, m.Console, m.Mem = kernel, filepath.Join(t.TempDir(), "initrd"), true, 256
	if err := os.WriteFile(m.Initrd, initrd, 0o644); err != nil {
		t.Fatal(err)
	}
	m.Append = strings.Join(append(m.KernelParams(), "do="+what), " ")
	p, err := Start(ctx, m, StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return ctx, p, readConsole(p.Console())
}

func TestAGuestsEndIsToldApart(t *testing.T) {
	tsc := StartTSC().KHz()
	tests := []struct {
		what string
		poke func(context.Context, *QMP) error
		want Shutdown
	}{
		{"poweroff", nil, Shutdown{true, "guest-shutdown"}},
		{"reboot", nil, Shutdown{true, "guest-reset"}},
		{"panic", nil, Shutdown{true, "guest-panic"}},
		{"button", func(ctx context.Context, q *QMP) error { return q.SystemPowerdown(ctx) }, Shutdown{true, "guest-shutdown"}},
		{"ctrl-alt-del", func(ctx context.Context, q *QMP) error { return q.CtrlAltDel(ctx) }, Shutdown{true, "guest-reset"}},
	}
	for _, typ := range []Type{MicroVM, Q35} {
		for _, tt := range tests {
			t.Run(string(typ)+" "+tt.what, func(t *testing.T) {
				p, console := boot(t, Machine{Type: typ, TSCKHz: tsc}, tt.what, tt.poke)
				e := p.Ending()
				if e.Shutdown == nil || *e.Shutdown != tt.want {
					t.Errorf("Ending() = %+v; want %+v\n%s", e.Shutdown, tt.want, console)
				}
				if (e.Panic != nil) != (tt.what == "panic") {
					t.Errorf("Ending().Panic = %+v", e.Panic)
				}
			})
		}
	}
}

func TestAGuestKeepsTimeByTheTSC(t *testing.T) {
	_, console := boot(t, Machine{TSCKHz: StartTSC().KHz(), VCPU: 2}, "clock", nil)
	if !strings.Contains(console, "CLOCK tsc") || !strings.Contains(console, "SLEPT") {
		t.Errorf("console lacks CLOCK tsc or SLEPT:\n%s", console)
	}
}
