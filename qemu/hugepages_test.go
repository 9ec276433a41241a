package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestHugePagesAreCounted(t *testing.T) {
	tests := []struct {
		name, meminfo, overcommit string
		m                         Machine
		err, hint                 string
	}{
		{name: "none wanted", m: Machine{}},
		{name: "enough", meminfo: "HugePages_Total: 300\nHugePages_Free: 256\nHugepagesize: 2048 kB\n", m: Machine{HugePages: true}},
		{
			name: "promised to others", meminfo: "HugePages_Total: 300\nHugePages_Free: 256\nHugePages_Rsvd: 6\nHugepagesize: 2048 kB\n",
			m:   Machine{HugePages: true},
			err: "it takes 256 pages of 2 MiB, and 250 are free", hint: "reserve more (sysctl vm.nr_hugepages=306), or set hugepageMem = false",
		},
		{
			name: "the kernel may make more", meminfo: "HugePages_Total: 2\nHugePages_Free: 0\nHugePages_Surp: 2\nHugepagesize: 2048 kB\n",
			overcommit: "258\n", m: Machine{HugePages: true},
		},
		{
			name: "but not enough", meminfo: "HugePages_Total: 2\nHugePages_Free: 0\nHugePages_Surp: 2\nHugepagesize: 2048 kB\n",
			overcommit: "257\n", m: Machine{HugePages: true},
			err: "it takes 256 pages of 2 MiB, and 0 are free", hint: "reserve more (sysctl vm.nr_hugepages=3), or set hugepageMem = false",
		},
		{
			name: "plugged at the start", meminfo: "HugePages_Total: 256\nHugePages_Free: 256\nHugepagesize: 2048 kB\n",
			m:   Machine{HugePages: true, Type: Q35, HotplugMem: 512, HotpluggedMem: 2},
			err: "it takes 257 pages of 2 MiB, and 256 are free", hint: "reserve more (sysctl vm.nr_hugepages=257), or set hugepageMem = false",
		},
		{
			name: "no whole number", meminfo: "HugePages_Total: 4\nHugePages_Free: 4\nHugepagesize: 1048576 kB\n", m: Machine{HugePages: true, Mem: 1536},
			err: "mem is 1536 MiB, and a page has 1024 MiB", hint: "make mem a multiple of 1024 MiB",
		},
		{
			name: "a kernel without", meminfo: "MemTotal: 1 kB\n", m: Machine{HugePages: true},
			err: "this host's kernel has none",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.m.HugePages {
				if err := tt.m.CheckHugePages(); err != nil {
					t.Errorf("CheckHugePages() = %v; want nil", err)
				}
				return
			}
			dir := t.TempDir()
			meminfo, overcommit := filepath.Join(dir, "meminfo"), filepath.Join(dir, "overcommit")
			for path, text := range map[string]string{meminfo: tt.meminfo, overcommit: tt.overcommit} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err := readHugePages(meminfo, overcommit)
			if err == nil {
				err = p.check(&tt.m)
			}
			got, hint := "", ""
			if err != nil {
				got = err.Error()
			}
			if he := (*HostError)(nil); errors.As(err, &he) {
				got, hint = he.Err.Error(), he.Hint
			}
			if got != tt.err || hint != tt.hint {
				t.Errorf("check = %q, hint %q; want %q, hint %q", got, hint, tt.err, tt.hint)
			}
		})
	}
}
