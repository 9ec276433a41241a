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

// payload returns the compressed ELF file in a bzImage.
func payload(image []byte) ([]byte, error) {
	if len(image) < headerSize || string(image[offMagic:offMagic+4]) != "HdrS" {
		return nil, fmt.Errorf("not a bzImage: %w", ErrUnsupported)
	}
	if v := binary.LittleEndian.Uint16(image[offVersion:]); v < 0x208 {
		return nil, fmt.Errorf("boot protocol %x is from before Linux 2.6.26: %w", v, ErrUnsupported)
	}
	sects := int(image[offSetupSects])
	if sects == 0 {
		sects = 4 // as the kernel's documentation has it
	}
	begin := uint64(sects+1)*512 + uint64(binary.LittleEndian.Uint32(image[offPayloadOffset:]))
	length := uint64(binary.LittleEndian.Uint32(image[offPayloadLength:]))
	if length == 0 || begin+length > uint64(len(image)) {
		return nil, fmt.Errorf("the kernel's header points outside of the file: %w", ErrUnsupported)
	}
	return image[begin : begin+length], nil
}

// unpack decompresses a payload. The kernel's build appends the unpacked size
// to most formats, so what follows the compressed stream is ignored.
func unpack(ctx context.Context, p []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(p, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(p))
		if err != nil {
			return nil, err
		}
		r.Multistream(false)
		return readAll(r)
	case bytes.HasPrefix(p, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(bytes.NewReader(trimSize(p)), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxUnpacked))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAll(r)
	case bytes.HasPrefix(p, []byte{0x02, 0x21, 0x4c, 0x18}):
		return readAll(lz4.NewReader(bytes.NewReader(trimSize(p))))
	case bytes.HasPrefix(p, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return unxz(ctx, trimSize(p))
	}
	return nil, fmt.Errorf("unknown compression: %w", ErrUnsupported)
}

// trimSize cuts off the unpacked size.
func trimSize(p []byte) []byte { return p[:len(p)-4] }

// unxz runs xz: kernels use its x86 filter, which Go's libraries lack.
func unxz(ctx context.Context, p []byte) ([]byte, error) {
	program, err := exec.LookPath("xz")
	if err != nil {
		return nil, fmt.Errorf("xz is not installed: %w", ErrUnsupported)
	}
	cmd := exec.CommandContext(ctx, program, "--decompress", "--stdout", "--single-stream")
	cmd.Stdin = bytes.NewReader(p)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b, err := readAll(out)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	return b, errors.Join(err, cmd.Wait())
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err == nil && len(b) > maxUnpacked {
		err = fmt.Errorf("it unpacks to more than %d MiB: %w", maxUnpacked>>20, ErrUnsupported)
	}
	return b, err
}
