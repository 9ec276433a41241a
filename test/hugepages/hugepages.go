// Package hugepages reserves huge pages of the host for a test, and gives them
// back.
package hugepages

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const pool = "/proc/sys/vm/nr_hugepages"

// Reserve adds so many MiB of huge pages to the host's pool until the test ends.
// It takes them to have 2 MiB each. Tests of other processes may do the same
// meanwhile. The test is skipped if this user may not do it.
func Reserve(t testing.TB, mib int) {
	t.Helper()
	switch got, err := add(mib / 2); {
	case errors.Is(err, fs.ErrPermission):
		t.Skipf("%v: run as root where sysctls can be written", err)
	case err != nil:
		t.Fatal(err)
	default:
		t.Cleanup(func() {
			if _, err := add(-got); err != nil {
				t.Errorf("give the huge pages back: %v", err)
			}
		})
		if got < mib/2 {
			t.Fatalf("the host has %d huge pages to spare; want %d (free some memory, or run: sysctl vm.compact_memory=1)", got, mib/2)
		}
	}
}

// add changes the pool by n pages, and returns by how many it has really changed.
func add(n int) (int, error) {
	// Reading and writing are two steps, which others must not come between. The
	// lock is on a file that all processes of this host have, and nothing else
	// locks.
	lock, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return 0, err
	}
	before, err := read()
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(pool, strconv.AppendInt(nil, int64(before+n), 10), 0o644); err != nil {
		return 0, err
	}
	after, err := read()
	return after - before, err
}

func read() (int, error) {
	b, err := os.ReadFile(pool)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(b)))
}
