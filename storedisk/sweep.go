package storedisk

import (
	"os"
	"path/filepath"
	"strings"
)

// sweep removes what builders left that did not live to clean up. Whether one
// lives is told by its lock, never by the age of its files. What cannot be
// removed now is in nobody's way.
func (c *Cache) sweep() {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), streamPrefix) {
			sweepStream(filepath.Join(c.Dir, e.Name()))
		}
		image, ok := passing(e.Name())
		if !ok {
			continue
		}
		lock, err := tryLock(hidden(filepath.Join(c.Dir, image), lockSuffix))
		if err != nil {
			continue
		}
		path := filepath.Join(c.Dir, e.Name())
		if os.RemoveAll(path) == nil && !strings.HasSuffix(path, lockSuffix) {
			c.log().Info("removed what an interrupted builder left", "file", path)
		}
		lock.unlock()
	}
}

// sweepStream removes a directory of [Cache.Stream], if it got as far as taking
// a lock and does not have it any more.
func sweepStream(dir string) {
	path := hidden(filepath.Join(dir, streamFile), lockSuffix)
	if _, err := os.Stat(path); err != nil {
		return
	}
	if lock, err := tryLock(path); err == nil {
		os.RemoveAll(dir)
		lock.unlock()
	}
}

// passing reports whether name is a file's that only exists while an image is
// made, and of which image: ".X.erofs.json.tmp" belongs to X.erofs.
func passing(name string) (image string, ok bool) {
	if !strings.HasPrefix(name, ".") {
		return "", false
	}
	name, ok = strings.CutSuffix(name, tempSuffix)
	if !ok {
		name, ok = strings.CutSuffix(name, stageSuffix)
	}
	if !ok {
		name, ok = strings.CutSuffix(name, lockSuffix)
	}
	for _, suffix := range []string{recordSuffix, indexSuffix, registrationSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	return strings.TrimPrefix(name, "."), ok && isImage(strings.TrimPrefix(name, "."))
}

// isImage reports whether name is an image's: a digest, a dot and a type.
func isImage(name string) bool {
	digest, typ, _ := strings.Cut(name, ".")
	if len(digest) != 40 || strings.Trim(digest, "0123456789abcdef") != "" {
		return false
	}
	for _, t := range Types {
		if typ == string(t) {
			return true
		}
	}
	return false
}
