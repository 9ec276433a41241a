package storedisk

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Info is what a cache knows of an image.
type Info struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Type   Type   `json:"type"`
	Label  string `json:"label,omitempty"`
	UUID   string `json:"uuid,omitempty"`

	// Size is what the image and its companions take up, in bytes, and
	// Apparent how long the image's file is.
	Size     int64 `json:"size"`
	Apparent int64 `json:"apparent"`

	// StoreDir is where the store was that it was made from, and Paths how
	// many of its paths it holds.
	StoreDir string `json:"storeDir,omitempty"`
	Paths    int    `json:"paths,omitempty"`

	Made     time.Time     `json:"made"`
	LastUsed time.Time     `json:"lastUsed"`       // when a Build last returned it
	Took     time.Duration `json:"took,omitempty"` // nanoseconds to make it
	Settled  bool          `json:"settled"`        // it will survive a crash
	For      []string      `json:"for,omitempty"`  // who wants it: see [Options.For]
	InUse    bool          `json:"inUse"`          // there is a lease, or QEMU has it open

	// Unfinished says that no Build would return it: whoever made it was
	// interrupted, or another version of mvm did, or the host crashed.
	Unfinished bool `json:"unfinished,omitempty"`
}

// List returns all images, the most recently used first. A cache that does not
// exist is empty.
func (c *Cache) List(ctx context.Context) ([]Info, error) {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	wanted, err := c.refs()
	if err != nil {
		return nil, err
	}
	var all []Info
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !isImage(e.Name()) {
			continue
		}
		info, err := c.info(filepath.Join(c.Dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, err
		}
		info.For = wanted[e.Name()]
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b Info) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.Path, b.Path))
	})
	return all, nil
}

// info describes one image.
func (c *Cache) info(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	digest, typ, _ := strings.Cut(filepath.Base(path), ".")
	info := Info{
		Path: path, Digest: digest, Type: Type(typ), Apparent: fi.Size(),
		Made: fi.ModTime(), LastUsed: fi.ModTime(), Unfinished: true,
	}
	for _, suffix := range []string{"", recordSuffix, indexSuffix, registrationSuffix} {
		var st unix.Stat_t
		if unix.Stat(path+suffix, &st) != nil {
			continue
		}
		info.Size += st.Blocks * 512
		if suffix == recordSuffix {
			info.LastUsed = time.Unix(st.Mtim.Unix())
		}
	}
	if r, err := readRecord(path); err == nil && r.fits(fi) {
		info.Unfinished = false
		info.UUID, info.StoreDir, info.Paths = r.UUID, r.StoreDir, r.Paths
		info.Took, info.Settled = r.Took, r.Settled
		if r.Type.HasLabel() {
			info.Label = Label
		}
	}
	info.InUse, err = inUse(f)
	return info, err
}
