package vsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
)

func TestCandidatesAreStableAndDiffer(t *testing.T) {
	seen := make(map[uint32]string)
	for _, name := range []string{"web", "db", "a", "web/0"} {
		for try := range tries {
			cid := Candidate(name, try)
			if cid < 1<<16 || cid >= 1<<31 {
				t.Errorf("Candidate(%q, %d) = %d; want 65536 to 2147483647", name, try, cid)
			}
			if other := seen[cid]; other != "" {
				t.Errorf("Candidate(%q, %d) = %d, which is also that of %s", name, try, cid, other)
			}
			seen[cid] = fmt.Sprintf("%s, try %d", name, try)
		}
	}
	if got := Candidate("web", 0); got != Candidate("web", 0) {
		t.Errorf("Candidate is another each time: %d", got)
	}
}

// TestNumberIsHeldOnce: whoever comes second hears who was first.
func TestNumberIsHeldOnce(t *testing.T) {
	cid := Candidate(t.Name()+fmt.Sprint(os.Getpid()), 0)
	first, err := hold(cid)
	if err != nil {
		t.Fatal(err)
	}
	_, err = hold(cid)
	want := fmt.Sprintf("claim the context id %d for vsock: another machine of this host has it: process %d", cid, os.Getpid())
	if err == nil || !errors.Is(err, ErrTaken) || err.Error() != want {
		t.Errorf("hold(%d) for the second time = %v; want %s", cid, err, want)
	}
	first.Close()
	again, err := hold(cid)
	if err != nil {
		t.Fatalf("hold(%d) when it was given up = %v; want it", cid, err)
	}
	again.Close()
}

func TestMissingDeviceHasAHint(t *testing.T) {
	for _, err := range []error{
		openError(&fs.PathError{Op: "open", Path: Device, Err: fs.ErrNotExist}),
		openError(&fs.PathError{Op: "open", Path: Device, Err: fs.ErrPermission}),
		openError(&fs.PathError{Op: "open", Path: Device, Err: errors.New("whatever")}),
	} {
		he := (*HostError)(nil)
		if !errors.As(err, &he) || he.Op != "open /dev/vhost-vsock" || he.Hint == "" {
			t.Errorf("openError = %#v; want a HostError with a hint", err)
		}
	}
}
