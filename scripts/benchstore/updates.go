package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/storedisk"
)

// Names that the wants refer to.
const (
	nothing  = "nothing changed"
	little   = "20 KB changed"
	large    = "one path of 46 MB changed"
	inUse    = "20 KB changed, image in use"
	inUseXFS = "20 KB, in use, cache on XFS"
)

// updates are caches with an image of closure 1 that one machine wants.
type updates struct {
	b     *bench
	cache string
	xfs   string // another one, on XFS; or ""
}

func (b *bench) newUpdates() (*updates, error) {
	u := &updates{b: b, cache: filepath.Join(b.dir, "cache")}
	if _, err := u.build("", u.cache, 1); err != nil {
		return nil, err
	}
	if b.quick {
		return u, nil
	}
	xfs := filepath.Join(b.dir, "xfs")
	if err := mountXFS(xfs); err != nil {
		b.results.missing = append(b.results.missing, fmt.Sprintf("%s: %v", inUseXFS, err))
		return u, nil
	}
	u.xfs = filepath.Join(xfs, "cache")
	_, err := u.build("", u.xfs, 1)
	return u, err
}

// mountXFS mounts a new file system, which is gone when the process is.
func mountXFS(dir string) error {
	image := dir + ".img"
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(8<<30), f.Close(), os.Mkdir(dir, 0o755)); err != nil {
		return err
	}
	for _, args := range [][]string{{"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

func (u *updates) close() error {
	if u.xfs == "" {
		return nil
	}
	return unix.Unmount(filepath.Dir(u.xfs), 0)
}

// round measures each kind of update and leaves an image of closure 1.
func (u *updates) round() error {
	for _, s := range []struct {
		name    string
		closure int
		want    storedisk.Origin
	}{
		{nothing, 1, storedisk.Found}, {nothing, 1, storedisk.Found}, {nothing, 1, storedisk.Found},
		{little, 2, storedisk.Updated}, {little, 1, storedisk.Updated},
		{little, 2, storedisk.Updated}, {little, 1, storedisk.Updated},
		{large, 3, storedisk.Updated}, {large, 1, storedisk.Updated},
	} {
		r, err := u.build(s.name, u.cache, s.closure)
		if err != nil {
			return err
		}
		if r.Origin != s.want {
			return fmt.Errorf("%s: the image was %s; want %s", s.name, r.Origin, s.want)
		}
	}
	if err := u.whileInUse(inUse, u.cache); err != nil || u.xfs == "" {
		return err
	}
	return u.whileInUse(inUseXFS, u.xfs)
}

// whileInUse updates an image that a guest has, so that another one is made: of
// a clone, where the file system can do that, or else anew.
func (u *updates) whileInUse(name, cache string) error {
	r, err := u.build("", cache, 1)
	if err != nil {
		return err
	}
	f, err := os.Open(r.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	// As QEMU does: see storedisk/erofs/inuse.go.
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: 100, Len: 4}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		return fmt.Errorf("lock %s: %w", r.Path, err)
	}
	if _, err := u.build(name, cache, 2); err != nil {
		return err
	}
	f.Close()
	if _, err := u.build("", cache, 1); err != nil {
		return err
	}
	_, err = (&storedisk.Cache{Dir: cache}).GC(context.Background(), storedisk.GCOptions{})
	return err
}

// build brings a cache to a closure. With an empty name nothing is kept of it.
func (u *updates) build(name, cache string, closure int) (r report, err error) {
	out, err := u.b.measure(name, workerCommand("-list", u.b.list(closure), "-store", u.b.store, "-for", "bench", cache))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, err
	}
	if name != "" {
		s := u.b.results.series(name)
		s.inner = append(s.inner, r.Took)
		log.Printf("%-28s %v, of which the disk %v", name, s.wall[len(s.wall)-1], r.Took)
	}
	return r, nil
}
