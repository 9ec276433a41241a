package storedisk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Label is the label of every image whose format has labels, and what a guest
// looks for. squashfs has none.
const Label = "nix-store"

// A Type is a file system that an image can hold. The zero value means erofs.
type Type string

// The types, as microvm.nix's storeDiskType names them.
const (
	Erofs    Type = "erofs"    // mvm's own writer; mkfs.erofs when it is to be compressed
	Squashfs Type = "squashfs" // mksquashfs or gensquashfs
	Ext4     Type = "ext4"
	Btrfs    Type = "btrfs"
)

// Types are all types, the default first.
var Types = []Type{Erofs, Squashfs, Ext4, Btrfs}

// HasLabel reports whether images of type t carry [Label].
func (t Type) HasLabel() bool { return t != Squashfs }

// Options say what an image is like. The zero value is an uncompressed erofs
// image that nobody is recorded to want.
type Options struct {
	// Type is the file system. Empty means [Erofs].
	Type Type

	// Compression is the algorithm, and after a colon its level: "lz4",
	// "zstd:3". Empty means the type's default, which is none except for
	// squashfs, where it is "zstd:1"; "none" means none. What a type
	// accepts is what its tool can do, and ext4 cannot compress.
	Compression string

	// ErofsFlags are flags for mkfs.erofs, microvm.nix's storeDiskErofsFlags.
	// Any flag means that mkfs.erofs is used instead of mvm's own writer.
	ErofsFlags []string

	// SquashfsFlags are flags for gensquashfs, storeDiskSquashfsFlags.
	SquashfsFlags []string

	// Jobs is the number of files read, or blocks compressed, at once. Zero
	// means as many as suit the machine. It does not show in the bytes.
	Jobs int

	// Registration asks for [Image.Registration].
	Registration bool

	// For names whoever wants the image, usually by the path of a machine's
	// state directory, so that the name is unique among all users of
	// the cache. The cache remembers one image for each name: garbage
	// collection keeps it, and when the closure has changed, the next image
	// is made out of it. Empty means nobody in particular; such an image is
	// left as it is until it is collected.
	For string
}

// check reports all mistakes in o.
func (o *Options) check() error {
	var wrong *multierror.Error
	if !slices.Contains(Types, o.typ()) {
		wrong = multierror.Append(wrong, fmt.Errorf("store disk type %q: want erofs, squashfs, ext4 or btrfs", o.Type))
	}
	if len(o.ErofsFlags) > 0 && o.typ() != Erofs {
		wrong = multierror.Append(wrong, fmt.Errorf("flags for mkfs.erofs with a disk of type %s", o.Type))
	}
	if len(o.SquashfsFlags) > 0 && o.typ() != Squashfs {
		wrong = multierror.Append(wrong, fmt.Errorf("flags for squashfs with a disk of type %s", o.typ()))
	}
	if o.Compression != "" && len(o.ErofsFlags)+len(o.SquashfsFlags) > 0 {
		wrong = multierror.Append(wrong, fmt.Errorf("compression %q and flags for the tool: give one of them", o.Compression))
	}
	if _, err := o.compression(); err != nil {
		wrong = multierror.Append(wrong, err)
	}
	if o.For != "" && len(refName(o.For)) > 255 {
		wrong = multierror.Append(wrong, fmt.Errorf("name %q of who wants the disk is too long", o.For))
	}
	return all("store disk options", wrong)
}

// typ returns the type, with the default filled in.
func (o *Options) typ() Type {
	if o.Type == "" {
		return Erofs
	}
	return o.Type
}

// A compression is an algorithm and its level; the zero value is none.
type compression struct {
	Algorithm string
	Level     string // empty means the tool's default
}

// algorithms are what the tools of each type can do. A particular build of a
// tool may do less, and then says so itself.
var algorithms = map[Type][]string{
	Erofs:    {"lz4", "lz4hc", "lzma", "deflate", "zstd"},
	Squashfs: {"gzip", "lz4", "lzo", "xz", "zstd"},
}

// compression parses o.Compression and fills in the type's default.
func (o *Options) compression() (compression, error) {
	s := o.Compression
	if s == "" && o.typ() == Squashfs {
		// Level 1 takes a sixtieth of the time of the tools' default, 15, for
		// a fifth more space.
		s = "zstd:1"
	}
	if s == "" || s == "none" {
		return compression{}, nil
	}
	algorithm, level, _ := strings.Cut(s, ":")
	can := algorithms[o.typ()]
	switch {
	case len(can) == 0:
		return compression{}, fmt.Errorf("compression %q: %s has none", o.Compression, o.typ())
	case !slices.Contains(can, algorithm):
		return compression{}, fmt.Errorf("compression %q: %s wants none or one of %s", o.Compression, o.typ(), strings.Join(can, ", "))
	case strings.Trim(level, "0123456789") != "":
		return compression{}, fmt.Errorf("compression %q: level %q is not a number", o.Compression, level)
	}
	return compression{algorithm, level}, nil
}
