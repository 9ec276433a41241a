package test_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/test"
)

// meminfo prints a number of /proc/meminfo, in KiB.
const meminfo = `kib() { awk -v "k=$1:" '$1 == k { print $2 }' /proc/meminfo; }; `

// kib is a number of the guest's /proc/meminfo.
func kib(t *testing.T, v *test.VM, key string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(v.Exec("sh", "-c", meminfo+"kib "+key)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitKiB returns when a number of the guest's /proc/meminfo is as the shell's
// test says: "-lt 1000". Nothing in a guest tells when.
func awaitKiB(v *test.VM, key, as string, n int) {
	v.Exec("sh", "-c", fmt.Sprintf("%suntil [ $(kib %s) %s %d ]; do sleep 0.1; done", meminfo, key, as, n))
}

// await returns when ok does so with true. It is for what nobody announces.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(test.Limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// checkMemory checks that a guest has about so many MiB: its kernel keeps a part
// for itself before it counts.
func checkMemory(t *testing.T, v *test.VM, mib int) {
	t.Helper()
	if got := kib(t, v, "MemTotal") >> 10; got > mib || got < mib-110 {
		t.Errorf("the guest has %d MiB; want %d less what its kernel takes", got, mib)
	}
}

// rings counts the io_urings of the machine's QEMU.
func rings(t *testing.T, v *test.VM) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", v.Status().QEMU))
	if err != nil || len(files) == 0 {
		t.Fatalf("no open files of QEMU: %v", err)
	}
	for _, f := range files {
		if target, _ := os.Readlink(f); target == "anon_inode:[io_uring]" {
			n++
		}
	}
	return n
}

// argv is the command line of the machine's QEMU.
func argv(t *testing.T, v *test.VM) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", v.Status().QEMU))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b), "\x00")
}

// startWithoutIOUring is h.Start in a place where nobody may use io_uring, as in
// most containers.
func startWithoutIOUring(t *testing.T, h *test.Host, definition string) (v *test.VM) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with the goroutine
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the system call's number
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 1},
			{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
			{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
		}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			const setModeFilter = 1 // SECCOMP_SET_MODE_FILTER of seccomp(2)
			program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
			if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
				err = errno
			}
		}
		if err == nil {
			v = h.Start(definition)
		}
		done <- err
	}()
	if err := <-done; err != nil || v == nil {
		t.Fatalf("start it where io_uring is denied: %v", err)
	}
	return v
}

// TestMicroVM sees a microvm's processors, memory and balloon from inside, and its
// process from outside.
func TestMicroVM(t *testing.T) {
	h := host(t)
	v := startWithoutIOUring(t, h, define(t, h, "micro", "vcpu = 2\nballoon = true\ncpu = \"Nehalem\"\n"))
	v.WaitReady()
	if got := v.Exec("sh", "-c", "nproc; grep -c 'model name.*Nehalem' /proc/cpuinfo"); got != "2\n2\n" {
		t.Errorf("processors, and those that are the definition's cpu: %q; want 2 and 2", got)
	}
	checkMemory(t, v, 256)
	args := argv(t, v)
	if got, want := args[0], "microvm@micro"; got != want {
		t.Errorf("QEMU's process is called %q; want %q", got, want)
	}
	if got := strings.Join(args, " "); strings.Count(got, "file.aio=threads") != 1 || rings(t, v) != 0 {
		t.Errorf("QEMU has %d io_urings where it may have none: %s", rings(t, v), got)
	}
	if e := h.Mvm("memory", v.Name, "300"); e.Code == 0 || !strings.Contains(e.Stderr, "set hotplugMem") {
		t.Errorf("mvm memory = %d for a machine that takes no more; want an error that names hotplugMem\n%s", e.Code, e.Stderr)
	}
	checkBalloon(t, h, v)
	checkEnd(t, v.Stop(), 0)
}

// checkStatus returns when "mvm status" says something of the guest. It hears of
// changes once a second.
func checkStatus(t *testing.T, h *test.Host, v *test.VM, want string) {
	t.Helper()
	await(t, "mvm status to say "+want, func() bool { return strings.Contains(h.Mvm("status", v.Name).Stdout, " "+want) })
}

// checkBalloon inflates and deflates the balloon of a guest with 256 MiB.
func checkBalloon(t *testing.T, h *test.Host, v *test.VM) {
	t.Helper()
	balloon := func(mib string) {
		t.Helper()
		if e := h.Mvm("balloon", v.Name, mib); e.Code != 0 {
			t.Fatalf("mvm balloon %s = %d\n%s", mib, e.Code, e.Stderr)
		}
	}
	inflated := func() int { return 256 - int(metric(t, h, v.Name, "mvm_balloon_bytes"))>>20 }
	before := kib(t, v, "MemAvailable")
	balloon("136")
	awaitKiB(v, "MemAvailable", "-lt", before-100<<10)
	await(t, "a balloon of 120 MiB", func() bool { return inflated() == 120 })
	checkStatus(t, h, v, "256 MiB, 120 MiB in the balloon,")

	// More than the balloon leaves it: it deflates, and nobody is killed.
	v.Exec("dd", "if=/dev/zero", "of=/dev/shm/much", "bs=1M", "count=100")
	if got := inflated(); got >= 120 {
		t.Errorf("a guest that ran out of memory left a balloon of %d MiB; want less than 120", got)
	}
	if got := v.Exec("sh", "-c", "dmesg | grep -ci 'killed process' || true"); got != "0\n" {
		t.Errorf("the guest killed %s processes for want of memory", strings.TrimSpace(got))
	}

	// What the guest frees comes back by itself. The balloon is empty by then.
	balloon("256")
	await(t, "an empty balloon", func() bool { return inflated() == 0 })
	resident := func() int { return int(metric(t, h, v.Name, "mvm_qemu_resident_memory_bytes")) >> 20 }
	v.Exec("dd", "if=/dev/zero", "of=/dev/shm/much", "bs=1M", "count=100")
	full := resident()
	v.Exec("rm", "/dev/shm/much")
	awaitKiB(v, "MemAvailable", "-gt", before-16<<10)
	await(t, "free pages to come back to the host", func() bool { return resident() < full-60 })
}
