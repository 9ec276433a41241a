package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// Arch returns the architecture that the kernel at path is for, in Go's words
// (runtime.GOARCH), or "" if its image is none of those that QEMU boots on an
// x86-64 or aarch64 machine.
func Arch(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h, err := head(f)
	if err != nil {
		return "", err
	}
	if bytes.HasPrefix(h, []byte("\x1f\x8b")) {
		// An Image as the kernel's "make Image.gz" leaves it. What is no gzip
		// after all is no kernel either.
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			return "", nil
		}
		if h, err = head(z); err != nil {
			return "", nil
		}
	}
	return archOf(h), nil
}

// headSize is how much of an image shows what it is: a bzImage's header ends
// behind all others.
const headSize = headerSize

// head returns the beginning of an image, and less of it if it is shorter.
func head(r io.Reader) ([]byte, error) {
	h := make([]byte, headSize)
	n, err := io.ReadFull(r, h)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return h[:n], err
}

// Where the formats have their names: Documentation/arch/x86/boot.rst and
// Documentation/arch/arm64/booting.rst. The latter's is also that of the loader
// of a compressed image (drivers/firmware/efi/libstub/zboot-header.S).
const (
	offArm64Magic = 0x38 // "ARM\x64"
	offPE         = 0x3c // where the header of an EFI program is
	offELFMachine = 0x12
)

func archOf(h []byte) string {
	at := func(offset int, magic string) bool {
		return len(h) >= offset+len(magic) && string(h[offset:offset+len(magic)]) == magic
	}
	switch {
	case at(offMagic, "HdrS"):
		return "amd64"
	case at(offArm64Magic, "ARM\x64"):
		return "arm64"
	case at(0, elf.ELFMAG) && len(h) >= offELFMachine+2:
		switch elf.Machine(binary.LittleEndian.Uint16(h[offELFMachine:])) {
		case elf.EM_X86_64:
			return "amd64"
		case elf.EM_AARCH64:
			return "arm64"
		}
	case at(0, "MZ") && len(h) >= offPE+4:
		pe := int64(binary.LittleEndian.Uint32(h[offPE:]))
		if pe+6 > int64(len(h)) || string(h[pe:pe+4]) != "PE\x00\x00" {
			return ""
		}
		switch binary.LittleEndian.Uint16(h[pe+4:]) {
		case 0x8664: // IMAGE_FILE_MACHINE_AMD64
			return "amd64"
		case 0xaa64: // IMAGE_FILE_MACHINE_ARM64
			return "arm64"
		}
	}
	return ""
}
