package storedisk

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
)

// formatVersion is part of every digest. It is raised when mvm would make
// other bytes of the same closure and options.
const formatVersion = 1

// A key is what an image is found by.
type key struct {
	sum [sha256.Size]byte
	typ Type
}

// newKey digests the names of c and everything in o that shows in the image.
// Content is not digested: see the package comment on what names stand for.
func newKey(c *Closure, o *Options) key {
	h := sha256.New()
	comp, _ := o.compression()
	fmt.Fprintf(h, "mvm store disk %d\n%s\n%q\n%q\n%q\n", formatVersion, o.typ(), comp, o.ErofsFlags, o.SquashfsFlags)
	for _, name := range c.Names {
		io.WriteString(h, name)
		h.Write([]byte{'\n'})
	}
	return key{[sha256.Size]byte(h.Sum(nil)), o.typ()}
}

// digest is the first 160 bits in hexadecimal: as much as Nix keeps of its own.
func (k key) digest() string { return hex.EncodeToString(k.sum[:20]) }

// file is the name of the image in the cache.
func (k key) file() string { return k.digest() + "." + string(k.typ) }

// uuid is the digest's first 16 bytes with the marks of a UUID of the form 8,
// which RFC 9562 leaves to the application. The same closure has the same.
func (k key) uuid() [16]byte {
	u := [16]byte(k.sum[:16])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

// seed is a second, independent UUID: ext4 salts its directory hashes with it,
// btrfs names its device by it.
func (k key) seed() [16]byte {
	s := sha256.Sum256(slices.Concat([]byte("seed"), k.sum[:]))
	k.sum = s
	return k.uuid()
}

func uuidString(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
