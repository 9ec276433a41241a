package volume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Format is how an image holds its disk.
type Format string

// The formats, by microvm.nix's names.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VHD   Format = "vhd"
	VHDX  Format = "vhdx"
)

// QEMU is the format's name in QEMU's words.
func (f Format) QEMU() string {
	switch f {
	case "":
		return string(Raw)
	case VHD:
		return "vpc"
	}
	return string(f)
}

// Raw reports whether the image is its disk, byte by byte.
func (f Format) raw() bool { return f == "" || f == Raw }

// inspect returns how many bytes the disk in an image has, or an error if it is
// not of the format, or leads to other files.
func (f Format) inspect(ctx context.Context, s Spec, image *os.File) (int64, error) {
	size, err := image.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.op(), cause(err))
	}
	if size == 0 {
		hint := "remove it, and it is made anew"
		if !s.Create {
			hint = "make the image, or remove it and let mvm make it with autoCreate = true"
		}
		return 0, &HostError{Op: s.op(), Err: errors.New("the image is empty"), Hint: hint}
	}
	switch f {
	case QCOW2:
		return inspectQCOW2(s, image)
	case VHD, VHDX:
		return virtualSize(ctx, s, image)
	}
	return size, nil
}

// Fields of a qcow2's header, whose numbers have the most significant byte first
// (docs/interop/qcow2.txt in QEMU).
const (
	qcow2Magic        = "QFI\xfb"
	qcow2BackingAt    = 8
	qcow2SizeAt       = 24
	qcow2CryptAt      = 32
	qcow2FeaturesAt   = 72 // from version 3 on
	qcow2HeaderBytes  = 104
	qcow2Corrupt      = 1 << 1
	qcow2ExternalData = 1 << 2
)

// inspectQCOW2 reads a header itself: QEMU's tools open the files that it names
// before they say that it names any.
func inspectQCOW2(s Spec, image io.ReaderAt) (int64, error) {
	wrong := func(what, hint string) (int64, error) {
		return 0, &HostError{Op: s.op(), Err: errors.New(what), Hint: hint}
	}
	var h [qcow2HeaderBytes]byte
	if _, err := image.ReadAt(h[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("%s: %w", s.op(), cause(err))
	}
	if string(h[:4]) != qcow2Magic {
		return wrong("it is no qcow2 image", `set imageType = "raw" if it is one, or convert it (qemu-img convert)`)
	}
	big := binary.BigEndian
	version, features := big.Uint32(h[4:]), uint64(0)
	if version >= 3 {
		features = big.Uint64(h[qcow2FeaturesAt:])
	}
	const flatten = "make it one of its own: qemu-img convert -O qcow2 IMAGE NEW"
	size := big.Uint64(h[qcow2SizeAt:])
	switch {
	case version != 2 && version != 3:
		return wrong(fmt.Sprintf("it is qcow2 of version %d, which QEMU does not know", version), "convert it (qemu-img convert)")
	case big.Uint64(h[qcow2BackingAt:]) != 0:
		return wrong("it is a layer over another file, and a guest gets no file but its image", flatten)
	case features&qcow2ExternalData != 0:
		return wrong("its data is in another file, and a guest gets no file but its image", flatten)
	case features&qcow2Corrupt != 0:
		return wrong("it is marked as corrupt", "repair it: qemu-img check -r all IMAGE")
	case big.Uint32(h[qcow2CryptAt:]) != 0:
		return wrong("it is encrypted, and mvm has no key for it", "encrypt in the guest, or the host's disk")
	case size == 0 || size > 1<<62:
		return wrong(fmt.Sprintf("its disk has %d bytes", size), "remove it, and it is made anew")
	}
	return int64(size), nil
}
