package storedisk_test

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func sortedKeys[V any](m map[string]V, backwards bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if backwards {
		slices.Reverse(keys)
	}
	return keys
}

func touchLink(t testing.TB, path string, when time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(when.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}
