package hostnet

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mvmrun/mvm/qemu"
)

// QEMU in its sandbox, started twice, gets the same device; the guest's CPUs
// stay stopped.
func TestQEMUTakesTheFiles(t *testing.T) {
	kernels, _ := filepath.Glob("../../build/kernel/boot/vmlinuz-*")
	if len(kernels) != 1 {
		t.Fatalf("%d kernels in build/kernel (run scripts/setup)", len(kernels))
	}
	inNamespace(t)
	ip(t, "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
	ip(t, "link", "add", "br0", "type", "bridge")
	for _, name := range []string{"eth7", "wire", "br0"} {
		ip(t, "link", "set", name, "up")
	}
	devices := []*Device{
		up(t, Spec{Name: "single", Bridge: "br0", MAC: mac}),
		up(t, Spec{Name: "multi", Queues: 2}),
		up(t, Spec{Kind: Macvtap, Name: "macvtap", Link: "eth7", MAC: mac}),
		up(t, Spec{Kind: Macvtap, Name: "macvtaps", Link: "eth7", MAC: []byte{2, 0, 0, 0, 0, 1}, Queues: 2}),
	}
	for range 2 {
		m := qemu.Machine{Kernel: kernels[0], VCPU: 2}
		files := make(map[string]*os.File)
		for _, d := range devices {
			queues, _, err := d.Files()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for i, q := range queues {
				names = append(names, d.Name+string(rune('0'+i)))
				files[names[i]] = q
			}
			m.NICs = append(m.NICs, qemu.NIC{MAC: mac.String(), Tap: &qemu.TapNet{Files: names}})
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		p, err := qemu.Start(ctx, m, qemu.StartOptions{Files: files})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Stderr(); s != "" {
			t.Errorf("QEMU says %s", s)
		}
		start := time.Now()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("QEMU was gone after %v", time.Since(start))
	}
	want := []string{"br0", "eth7", "macvtap", "macvtaps", "multi", "single", "wire"}
	if got := slices.Sorted(maps.Keys(show(t))); !slices.Equal(got, want) {
		t.Errorf("after two QEMUs there are %v; want %v", got, want)
	}
}
