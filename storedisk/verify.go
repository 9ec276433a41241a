package storedisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Verdict is the result of verifying one image.
type Verdict struct {
	Info

	// Content is the digest of what the image holds: see [Content].
	Content string `json:"content,omitempty"`

	// First says that there was no earlier digest to compare with. This one
	// was recorded for the next time.
	First bool `json:"first,omitempty"`

	// Fault says what is wrong. It is empty if the image is sound.
	Fault string `json:"fault,omitempty"`
}

// Verify checks an image with its file system's own checker, and its content
// against the digest recorded when it was first verified. The error is nil
// if the image was checked, whatever came out; a tool that is missing is a
// [HostError].
func (c *Cache) Verify(ctx context.Context, path string) (*Verdict, error) {
	info, err := c.info(path)
	if err != nil {
		return nil, err
	}
	v := &Verdict{Info: info}
	if info.Unfinished {
		v.Fault = "it was not finished, or made by another version of mvm"
		return v, nil
	}
	f, r, err := lease(path)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, fmt.Errorf("%s is being changed", path)
	}
	defer f.Close()
	if err := c.fsck(ctx, r.Type, path); err != nil {
		if he := (*HostError)(nil); errors.As(err, &he) || ctx.Err() != nil {
			return nil, err
		}
		v.Fault = err.Error()
		return v, nil
	}
	if v.Content, err = Content(ctx, f); err != nil {
		return nil, err
	}
	switch {
	case r.Content == "":
		v.First = true
		return v, c.amend(ctx, path, func(r *record) { r.Content = v.Content })
	case r.Content != v.Content:
		v.Fault = fmt.Sprintf("its content has changed: it is %.12s…, was %.12s…", v.Content, r.Content)
	}
	return v, nil
}

// fsck runs the checker of a type. There is none for squashfs: reading all of
// its tables is what its own tool can do.
func (c *Cache) fsck(ctx context.Context, t Type, path string) error {
	r := map[Type]toolRun{
		Erofs:    {name: "fsck.erofs", args: []string{path}},
		Squashfs: {name: "unsquashfs", args: []string{"-lln", path}},
		Ext4:     {name: "e2fsck", args: []string{"-f", "-n", path}},
		Btrfs:    {name: "btrfs", args: []string{"check", "--readonly", "--check-data-csum", path}},
	}[t]
	_, err := c.runTool(ctx, r, nil)
	return err
}

// amend changes the record of an image that its caller has a lease on. In a
// cache that is read-only it does nothing.
func (c *Cache) amend(ctx context.Context, path string, change func(*record)) error {
	lock, err := lockFile(ctx, hidden(path, lockSuffix), func(int) {})
	if err != nil {
		if readOnly(err) {
			return nil
		}
		return err
	}
	defer lock.unlock()
	r, err := readRecord(path)
	if err != nil {
		return err
	}
	change(r)
	return r.write(path)
}

// Content returns the SHA-256 of what f holds, in hexadecimal: its length, and
// the number and bytes of every block of 4096 that is not all zeros. Where
// holes are does not show, and they cost no time.
func Content(ctx context.Context, f *os.File) (string, error) {
	const block, chunk = 4096, 1 << 20
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", fi.Size())
	buf, zeros := make([]byte, chunk), make([]byte, block)
	for off := int64(0); off < fi.Size(); {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // nothing but holes
		}
		if err == nil {
			off = max(off, data/block*block)
		}
		n, err := f.ReadAt(buf[:min(chunk, fi.Size()-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		for i := 0; i < n; i += block {
			b := buf[i:min(i+block, n)]
			if !bytes.Equal(b, zeros[:len(b)]) {
				fmt.Fprintf(h, "%d\n", (off+int64(i))/block)
				h.Write(b)
			}
		}
		off += int64(n)
		if n == 0 {
			return "", fmt.Errorf("%s: %w", f.Name(), io.ErrUnexpectedEOF)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
