package kmod

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxModule bounds an unpacked module. The largest of Debian's kernels
// (amdgpu, with debugging symbols stripped) has 30 MB.
const maxModule = 256 << 20

// Read returns the module's bytes, unpacked: not every kernel can unpack
// modules (CONFIG_MODULE_DECOMPRESS), and the host is the faster machine.
//
// xz is unpacked by the program of that name, which every distribution that
// compresses modules with it has: nothing that mvm links knows the format.
func (m Module) Read(ctx context.Context) ([]byte, error) {
	op := "read kernel module " + m.Path
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, &HostError{Op: op, Err: errors.Unwrap(err), Hint: "reinstall the kernel, or run depmod"}
	}
	defer f.Close()
	var b []byte
	switch {
	case strings.HasSuffix(m.Path, ".zst"):
		b, err = unzstd(f)
	case strings.HasSuffix(m.Path, ".gz"):
		b, err = ungzip(f)
	case strings.HasSuffix(m.Path, ".xz"):
		b, err = unxz(ctx, f)
	default:
		b, err = readAll(f)
	}
	if err == nil && !bytes.HasPrefix(b, []byte("\x7fELF")) {
		err = errors.New("it is not an ELF file")
	}
	if he := (*HostError)(nil); errors.As(err, &he) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return b, nil
}

// signatureMark ends a signed module (MODULE_SIG_STRING). Before it are the
// struct module_signature, whose last four bytes are the signature's length,
// and before that the signature.
const (
	signatureMark   = "~Module signature appended~\n"
	signatureHeader = 12
)

// Unsigned returns a module without its signature, or the module itself if it
// has none.
//
// Checking a signature takes an emulated CPU some ten milliseconds for each
// module. A kernel loads a module without one, marks itself as tainted, and
// does all else alike; it refuses to only with module.sig_enforce or lockdown.
func Unsigned(module []byte) []byte {
	body, ok := bytes.CutSuffix(module, []byte(signatureMark))
	if !ok || len(body) < signatureHeader {
		return module
	}
	n := int64(binary.BigEndian.Uint32(body[len(body)-4:]))
	if n > int64(len(body)-signatureHeader) {
		return module
	}
	return body[:int64(len(body)-signatureHeader)-n]
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(b) > maxModule {
		err = fmt.Errorf("it has more than %d MiB", maxModule>>20)
	}
	return b, err
}

func unzstd(r io.Reader) ([]byte, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return readAll(d)
}

func ungzip(r io.Reader) ([]byte, error) {
	d, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return readAll(d)
}

func unxz(ctx context.Context, f *os.File) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--memlimit=1GiB")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &limited{w: &stdout, left: maxModule}, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &HostError{Op: "unpack kernel module " + f.Name(), Err: err, Hint: "install xz-utils"}
	}
	if err != nil && stderr.Len() > 0 {
		err = errors.New(strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), err
}

// A limited writer fails when too much is written to it.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, fmt.Errorf("it has more than %d MiB", maxModule>>20)
	}
	return l.w.Write(b)
}
