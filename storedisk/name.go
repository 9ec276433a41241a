package storedisk

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The shape of a store path's last element, as Nix checks it: 32 characters of
// its own base 32, a dash, and a name of at most 211 characters.
const (
	hashLen    = 32
	maxNameLen = 211
	base32     = "0123456789abcdfghijklmnpqrsvwxyz" // without e, o, t and u
)

// CheckName reports what is wrong with the last element of a store path, such
// as "9i8yx…-hello-2.12". It returns nil if Nix would accept it.
func CheckName(base string) error {
	hash, name, ok := strings.Cut(base, "-")
	switch {
	case !ok || len(hash) != hashLen:
		return fmt.Errorf("%q is no store path name: want %d characters, a dash and a name", base, hashLen)
	case strings.Trim(hash, base32) != "":
		return fmt.Errorf("%q is no store path name: %q is not in Nix's base 32", base, hash)
	case name == "":
		return fmt.Errorf("%q is no store path name: nothing follows the dash", base)
	case len(name) > maxNameLen:
		return fmt.Errorf("%q is no store path name: %d characters follow the dash, the limit is %d", base, len(name), maxNameLen)
	case name == "." || name == ".." || strings.HasPrefix(name, ".-") || strings.HasPrefix(name, "..-"):
		return fmt.Errorf("%q is no store path name: a name may not begin with dots and a dash", base)
	}
	for _, c := range []byte(name) {
		if !nameChar(c) {
			return fmt.Errorf("%q is no store path name: character %q is not allowed", base, c)
		}
	}
	return nil
}

func nameChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("+-._?=", c) >= 0
}

// baseOf returns the last element of path, which must lie directly in storeDir
// or in [GuestStore]: lists are often written in the guest's terms.
func baseOf(path, storeDir string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path", path)
	}
	clean := filepath.Clean(path)
	for _, dir := range []string{storeDir, GuestStore} {
		rest, ok := strings.CutPrefix(clean, dir+"/")
		if !ok {
			continue
		}
		base, _, inside := strings.Cut(rest, "/")
		if err := CheckName(base); err != nil {
			return "", err
		}
		if inside {
			return "", fmt.Errorf("%s lies inside a store path: list %s instead", path, filepath.Join(dir, base))
		}
		return base, nil
	}
	return "", fmt.Errorf("%s is not in the store %s", path, storeDir)
}

// errNoPaths is a closure without a single path.
var errNoPaths = errors.New("the closure is empty")
