package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// CheckHugePages returns nil if the machine asks for no huge pages, or this host
// has enough of them that are free. Otherwise it returns a [HostError]: QEMU would
// not start.
//
// The pages are those of the kernel's default size. QEMU takes all that the
// guest has at its start then and there; memory that virtio-mem adds later is
// taken when it is added.
func (m *Machine) CheckHugePages() error {
	if !m.HugePages {
		return nil
	}
	p, err := readHugePages("/proc/meminfo", "/proc/sys/vm/nr_overcommit_hugepages")
	if err != nil {
		return &HostError{Op: hugePagesOp, Err: err, Hint: "use a kernel with CONFIG_HUGETLBFS, or set hugepageMem = false"}
	}
	return p.check(m)
}

const hugePagesOp = "back the guest's memory with huge pages"

// hugePages are the host's pages of the default size.
type hugePages struct {
	kib   int // the size of one
	total int // in the pool
	free  int // and of those, not used and not promised
	more  int // that the kernel would try to make beside them
}

func (p hugePages) check(m *Machine) error {
	for _, part := range []struct {
		key string
		mib int
	}{{"mem", m.mem()}, {"hotplugMem", m.HotplugMem}, {"hotpluggedMem", m.HotpluggedMem}} {
		if rest := part.mib << 10 % p.kib; rest != 0 {
			return &HostError{
				Op: hugePagesOp, Err: fmt.Errorf("%s is %d MiB, and a page has %s", part.key, part.mib, p.size()),
				Hint: fmt.Sprintf("make %s a multiple of %s", part.key, p.size()),
			}
		}
	}
	want := (m.mem() + m.HotpluggedMem) << 10 / p.kib
	if lack := want - p.free - p.more; lack > 0 {
		return &HostError{
			Op: hugePagesOp, Err: fmt.Errorf("it takes %d pages of %s, and %d are free", want, p.size(), p.free),
			Hint: fmt.Sprintf("reserve more (sysctl vm.nr_hugepages=%d), or set hugepageMem = false", p.total+lack),
		}
	}
	return nil
}

func (p hugePages) size() string {
	if p.kib < 1<<10 {
		return fmt.Sprintf("%d KiB", p.kib)
	}
	return fmt.Sprintf("%d MiB", p.kib>>10)
}

// readHugePages reads the kernel's counters (Documentation/admin-guide/mm/hugetlbpage.rst).
func readHugePages(meminfo, overcommit string) (p hugePages, err error) {
	f, err := os.Open(meminfo)
	if err != nil {
		return p, err
	}
	defer f.Close()
	var reserved, surplus int
	fields := map[string]*int{
		"HugePages_Total": &p.total, "HugePages_Free": &p.free, "HugePages_Rsvd": &reserved,
		"HugePages_Surp": &surplus, "Hugepagesize": &p.kib,
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		to, ok := fields[key]
		if !ok {
			continue
		}
		if *to, err = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err != nil {
			return p, fmt.Errorf("%s: %s: %w", meminfo, key, err)
		}
	}
	if err := lines.Err(); err != nil {
		return p, err
	}
	if p.kib <= 0 {
		return p, errors.New("this host's kernel has none")
	}
	p.free -= reserved
	// Without the sysctl there is no overcommitment.
	if b, err := os.ReadFile(overcommit); err == nil {
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		p.more = max(0, n-surplus)
	}
	return p, nil
}
