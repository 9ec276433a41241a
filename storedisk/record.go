package storedisk

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// recordVersion is the version of a record's JSON. Records of any other are as
// good as none.
const recordVersion = 1

// A record lies beside its image and is written last. An image without one, or
// with one that does not fit, was not finished and is made again.
type record struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
	Type    Type   `json:"type"`
	UUID    string `json:"uuid"`

	// What the image's file must look like.
	Apparent int64     `json:"apparent"`
	ModTime  time.Time `json:"modTime"`

	// Boot is the boot in which the image was written. It was not synced
	// then, so after a crash it may be torn; Settled says that it was later.
	Boot    string `json:"boot"`
	Settled bool   `json:"settled"`

	// Stamp is the state of the sources that may change: see [Closure].
	Stamp string `json:"stamp,omitempty"`

	// Content is the SHA-256 of what the image holds, once somebody has
	// read all of it: see [Cache.Verify].
	Content string `json:"content,omitempty"`

	// Unnamed says that a caller without [Options.For] was given the image.
	// Whether it is still wanted cannot be told then, so it is never edited.
	Unnamed bool `json:"unnamed,omitempty"`

	StoreDir string        `json:"storeDir"`
	Paths    int           `json:"paths"`
	Packed   bool          `json:"packed,omitempty"` // an erofs image without holes
	Took     time.Duration `json:"took"`             // nanoseconds to make it
}

// fits reports whether r describes the image whose status is fi.
func (r *record) fits(fi os.FileInfo) bool {
	return fi.Mode().IsRegular() && fi.Size() == r.Apparent && fi.ModTime().Equal(r.ModTime) &&
		(r.Settled || r.Boot != "" && r.Boot == bootID())
}

// readRecord reads the record of the image at path.
func readRecord(path string) (*record, error) {
	b, err := os.ReadFile(path + recordSuffix)
	if err != nil {
		return nil, err
	}
	r := new(record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path+recordSuffix, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%s: version %d, want %d", path+recordSuffix, r.Version, recordVersion)
	}
	return r, nil
}

// write puts the record beside the image at path.
func (r *record) write(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return replaceFile(path+recordSuffix, append(b, '\n'))
}

// replaceFile writes a small file under a temporary name and renames it. The
// caller holds the lock that keeps others from the same name.
func replaceFile(path string, b []byte) error {
	tmp := hidden(path, tempSuffix)
	err := os.WriteFile(tmp, b, 0o644)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// bootID names the present boot of this host. It is empty, and then no
// unsettled image is trusted, where /proc is not mounted.
var bootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})
