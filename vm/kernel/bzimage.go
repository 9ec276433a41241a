package kernel

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrUnsupported is wrapped by the error for an image that cannot be unpacked
// or, unpacked, not be booted by QEMU. It is to be booted as it is.
var ErrUnsupported = errors.New("boot it as it is")

// maxUnpacked bounds what an image may unpack to, in bytes. A kernel with
// everything built in has 100 MiB.
const maxUnpacked = 512 << 20

// Offsets in the header of a bzImage (Documentation/arch/x86/boot.rst).
const (
	offSetupSects    = 0x1f1
	offMagic         = 0x202 // "HdrS"
	offVersion       = 0x206
	offPayloadOffset = 0x248 // from the start of the protected-mode code
	offPayloadLength = 0x24c
	headerSize       = 0x250
)

// payload returns the compressed ELF file in a bzImage of size bytes.
func payload(image io.ReaderAt, size int64) (*io.SectionReader, error) {
	var h [headerSize]byte
	if _, err := image.ReadAt(h[:], 0); err != nil || string(h[offMagic:offMagic+4]) != "HdrS" {
		return nil, fmt.Errorf("not a bzImage: %w", ErrUnsupported)
	}
	if v := binary.LittleEndian.Uint16(h[offVersion:]); v < 0x208 {
		return nil, fmt.Errorf("boot protocol %x is from before Linux 2.6.26: %w", v, ErrUnsupported)
	}
	sects := int64(h[offSetupSects])
	if sects == 0 {
		sects = 4 // as the kernel's documentation has it
	}
	begin := (sects+1)*512 + int64(binary.LittleEndian.Uint32(h[offPayloadOffset:]))
	length := int64(binary.LittleEndian.Uint32(h[offPayloadLength:]))
	if length < sizeSize || begin+length > size {
		return nil, fmt.Errorf("the kernel's header points outside of the file: %w", ErrUnsupported)
	}
	return io.NewSectionReader(image, begin, length), nil
}

// sizeSize is the size in bytes of what the kernel's build appends to all
// compressed streams but gzip's: the unpacked size.
const sizeSize = 4

// unpack writes what p unpacks to into w. Not more than a buffer or two of it is
// in memory at any time: a supervisor that unpacked a kernel is to be as small
// as any other.
func unpack(ctx context.Context, w io.Writer, p *io.SectionReader) error {
	var magic [6]byte
	if _, err := p.ReadAt(magic[:], 0); err != nil {
		return fmt.Errorf("unknown compression: %w", ErrUnsupported)
	}
	stream := io.NewSectionReader(p, 0, p.Size()-sizeSize)
	switch {
	case bytes.HasPrefix(magic[:], []byte{0x1f, 0x8b}):
		// gzip has the unpacked size itself, so none is appended.
		r, err := gzip.NewReader(p)
		if err != nil {
			return err
		}
		r.Multistream(false)
		return copyBounded(w, r)
	case bytes.HasPrefix(magic[:], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(stream, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxUnpacked))
		if err != nil {
			return err
		}
		defer r.Close()
		return copyBounded(w, r)
	case bytes.HasPrefix(magic[:], []byte{0x02, 0x21, 0x4c, 0x18}):
		return copyBounded(w, lz4.NewReader(stream))
	case bytes.HasPrefix(magic[:], []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return unxz(ctx, w, stream)
	}
	return fmt.Errorf("unknown compression: %w", ErrUnsupported)
}

// unxz runs xz: kernels use its x86 filter, which Go's libraries lack.
func unxz(ctx context.Context, w io.Writer, r io.Reader) error {
	program, err := exec.LookPath("xz")
	if err != nil {
		return fmt.Errorf("xz is not installed: %w", ErrUnsupported)
	}
	cmd := exec.CommandContext(ctx, program, "--decompress", "--stdout", "--single-stream")
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = copyBounded(w, out)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	return errors.Join(err, cmd.Wait())
}

func copyBounded(w io.Writer, r io.Reader) error {
	n, err := io.Copy(w, io.LimitReader(r, maxUnpacked+1))
	if err == nil && n > maxUnpacked {
		err = fmt.Errorf("it unpacks to more than %d MiB: %w", maxUnpacked>>20, ErrUnsupported)
	}
	return err
}
