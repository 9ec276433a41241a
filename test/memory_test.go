package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/test"
	"github.com/mvmrun/mvm/test/hugepages"
)

// hugetlb is how many MiB of huge pages the machine's QEMU uses.
func hugetlb(t *testing.T, v *test.VM) (mib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", v.Status().QEMU))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:Private|Shared)_Hugetlb: +(\d+) kB$`).FindAllSubmatch(b, -1) {
		kib, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		mib += kib >> 10
	}
	return mib
}

// TestHugePagesThatAreNotThere: that is said before QEMU starts, with what to do.
func TestHugePagesThatAreNotThere(t *testing.T) {
	h := host(t)
	e := h.Mvm("run", define(t, h, "greedy", "hugepageMem = true\nhotplugMem = 1073741824\n"))
	if want := "pages of "; e.Code != 101 || !strings.Contains(e.Stderr, want) || !strings.Contains(e.Stderr, "sysctl vm.nr_hugepages=") {
		t.Errorf("mvm run with a pebibyte of huge pages = %d; want 101, %q and a hint\n%s", e.Code, want, e.Stderr)
	}
}

// TestMemoryInHugePagesIsPlugged plugs memory into a q35 and pulls it out, all of
// it in huge pages and shared with a virtiofsd.
func TestMemoryInHugePagesIsPlugged(t *testing.T) {
	h := host(t)
	hugepages.Reserve(t, 512)
	dir := filepath.Join(h.Dir, "share")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v := h.Start(define(t, h, "huge", `
prettyProcnames = false
machineId = "01234567-89AB-cdef-0123-456789abcdef"
hugepageMem = true
hotplugMem = 256
hotpluggedMem = 128
`+share("virtiofs", "src", dir, "/src")))
	v.WaitReady()

	if got := strings.TrimSpace(v.Exec("cat", "/sys/class/dmi/id/product_uuid")); !strings.EqualFold(got, "01234567-89AB-cdef-0123-456789abcdef") {
		t.Errorf("the guest's SMBIOS says that it is %q; want its machineId", got)
	}
	if got, want := v.Exec("cat", "/proc/cmdline"), " systemd.machine_id=0123456789abcdef0123456789abcdef "; !strings.Contains(got, want) {
		t.Errorf("the guest's command line is %q; want %q in it", got, want)
	}
	args := argv(t, v)
	if want, err := qemu.Find("", qemu.Q35); args[0] != want {
		t.Errorf("QEMU's process is called %q; want %q, %v", args[0], want, err)
	}
	aio, most := "threads", 0
	if qemu.IOUring() == nil {
		aio, most = "io_uring", 1
	}
	if got := strings.Join(args, " "); strings.Count(got, "file.aio="+aio) != 1 || rings(t, v) != most {
		t.Errorf("QEMU has %d io_urings; want %d: %s", rings(t, v), most, got)
	}

	memory := func(mib string) test.Ended { return h.Mvm("memory", v.Name, mib) }
	awaitKiB(v, "MemTotal", "-ge", (256+128-110)<<10)
	checkMemory(t, v, 256+128)
	before := kib(t, v, "MemTotal")
	if e := memory("512"); e.Code != 0 {
		t.Errorf("mvm memory 512 = %d; want 0\n%s", e.Code, e.Stderr)
	}
	awaitKiB(v, "MemTotal", "-eq", before+128<<10)
	// Each page is taken as it is plugged in, so that none can be missing later.
	if got := hugetlb(t, v); got < 256 {
		t.Errorf("QEMU has %d MiB of huge pages; want at least the 256 that were plugged in", got)
	}
	if got := metric(t, h, v.Name, "mvm_hotplugged_memory_bytes"); got != 256<<20 {
		t.Errorf("%v bytes are plugged in; want %d", got, 256<<20)
	}
	checkStatus(t, h, v, "256 MiB, 256 MiB plugged in,")
	// By way of plugged memory: Linux puts what can be moved there first.
	got := v.Exec("sh", "-c", `dd if=/dev/urandom of=/dev/shm/f bs=1M count=16 2>/dev/null
		cp /dev/shm/f /src/f && sha256sum </dev/shm/f && rm /dev/shm/f`)
	if want := sum(t, filepath.Join(dir, "f")); !strings.HasPrefix(got, want+" ") {
		t.Errorf("what the guest wrote to the share has the sum %s here; want %s", want, got)
	}

	if e := memory("256"); e.Code != 0 {
		t.Errorf("mvm memory 256 = %d; want 0\n%s", e.Code, e.Stderr)
	}
	awaitKiB(v, "MemTotal", "-eq", before-128<<10)
	await(t, "huge pages to go back", func() bool { return hugetlb(t, v) <= 256 })
	checkStatus(t, h, v, "256 MiB, 0 MiB plugged in,")
	for mib, want := range map[string]string{"514": "want 256, which is mem, to 512", "254": "want 256", "301": "in steps of 2", "much": "no number"} {
		if e := memory(mib); e.Code == 0 || !strings.Contains(e.Stderr, want) {
			t.Errorf("mvm memory %s = %d; want an error with %q\n%s", mib, e.Code, want, e.Stderr)
		}
	}
	checkEnd(t, v.Stop(), 0)
}
