package cargo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// magic begins every stream; the number is the version of what follows.
const magic = "mvm cargo 1\n"

// A kind says what a record is.
type kind byte

const (
	kindDir   kind = 'D' // enter a directory: mode, time, name
	kindFile  kind = 'F' // begin a file: mode, time, size, name
	kindLink  kind = 'L' // a symbolic link: name, target
	kindData  kind = 'C' // bytes of the file
	kindHole  kind = 'H' // so many bytes of nothing
	kindClose kind = 'E' // the file, or the directory, is complete
	kindDrop  kind = 'A' // the file could not be read to its end: forget it
	kindError kind = 'X' // what could not be sent, as text
	kindEnd   kind = 'Z' // all is sent
)

// Limits of a record. A name and a link's target have the kernel's.
const (
	maxName   = 255
	maxTarget = 4095
	maxText   = 4096
	maxData   = 32 << 10
	// maxDepth is how deep directories may nest: each holds a descriptor.
	maxDepth = 200
)

// ErrStream is wrapped by the error for a stream that is not what Send writes, or
// that was cut off.
var ErrStream = errors.New("not a whole copy")

// A record is one step of a tree's walk. Which fields mean something depends on
// its kind.
type record struct {
	kind   kind
	mode   fs.FileMode // permission bits
	time   time.Time   // of the last modification
	size   int64       // of a file, for progress only; of a hole
	name   string
	target string // of a link
	text   string // of an error
	data   []byte // valid until the next record is read
}

// A writer writes records. Its first error stays.
type writer struct {
	w   *bufio.Writer
	err error
}

func newWriter(w io.Writer) *writer {
	out := &writer{w: bufio.NewWriterSize(w, maxData+64)}
	_, out.err = out.w.WriteString(magic)
	return out
}

func (w *writer) put(r record) error {
	b := []byte{byte(r.kind)}
	switch r.kind {
	case kindDir:
		b = appendText(appendMeta(b, &r), r.name)
	case kindFile:
		b = appendText(binary.AppendUvarint(appendMeta(b, &r), uint64(r.size)), r.name)
	case kindLink:
		b = appendText(appendText(b, r.name), r.target)
	case kindData:
		b = binary.AppendUvarint(b, uint64(len(r.data)))
	case kindHole:
		b = binary.AppendUvarint(b, uint64(r.size))
	case kindError:
		b = appendText(b, r.text[:min(len(r.text), maxText)])
	}
	for _, part := range [][]byte{b, r.data} {
		if w.err == nil {
			_, w.err = w.w.Write(part)
		}
	}
	return w.err
}

func (w *writer) flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

func appendMeta(b []byte, r *record) []byte {
	b = binary.AppendUvarint(b, uint64(r.mode.Perm()))
	return binary.AppendVarint(b, r.time.UnixNano())
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A reader reads records and trusts none of them.
type reader struct {
	r   *bufio.Reader
	buf [maxData]byte
}

func newReader(r io.Reader) (*reader, error) {
	in := &reader{r: bufio.NewReaderSize(r, maxData)}
	head := in.buf[:len(magic)]
	if _, err := io.ReadFull(in.r, head); err != nil {
		return nil, cut(err)
	}
	if string(head) != magic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrStream, head)
	}
	return in, nil
}

// next reads one record.
func (in *reader) next() (record, error) {
	b, err := in.r.ReadByte()
	if err != nil {
		return record{}, cut(err)
	}
	r := record{kind: kind(b)}
	switch r.kind {
	case kindDir:
		in.meta(&r, &err)
		r.name = in.text(maxName, &err)
	case kindFile:
		in.meta(&r, &err)
		r.size = in.number(&err)
		r.name = in.text(maxName, &err)
	case kindLink:
		r.name = in.text(maxName, &err)
		r.target = in.text(maxTarget, &err)
	case kindData:
		r.data = in.bytes(maxData, &err)
	case kindHole:
		r.size = in.number(&err)
	case kindError:
		r.text = in.text(maxText, &err)
	case kindClose, kindDrop, kindEnd:
	default:
		err = fmt.Errorf("%w: record of kind %d", ErrStream, b)
	}
	return r, err
}

func (in *reader) meta(r *record, err *error) {
	mode := in.number(err)
	if *err == nil && mode > int64(fs.ModePerm) {
		*err = fmt.Errorf("%w: mode %#o", ErrStream, mode)
	}
	r.mode = fs.FileMode(mode)
	if *err != nil {
		return
	}
	ns, e := binary.ReadVarint(in.r)
	r.time, *err = time.Unix(0, ns), cut(e)
}

func (in *reader) number(err *error) int64 {
	if *err != nil {
		return 0
	}
	n, e := binary.ReadUvarint(in.r)
	if e == nil && n > 1<<62 {
		e = fmt.Errorf("%w: a size of %d bytes", ErrStream, n)
	}
	*err = cut(e)
	return int64(n)
}

func (in *reader) bytes(limit int, err *error) []byte {
	n := in.number(err)
	if *err == nil && n > int64(limit) {
		*err = fmt.Errorf("%w: %d bytes where at most %d may be", ErrStream, n, limit)
	}
	if *err != nil {
		return nil
	}
	_, e := io.ReadFull(in.r, in.buf[:n])
	*err = cut(e)
	return in.buf[:n]
}

func (in *reader) text(limit int, err *error) string { return string(in.bytes(limit, err)) }

// cut is what the end of a stream means in the middle of it.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it was cut off", ErrStream)
	}
	return err
}

// entry reports whether a name is one that a directory can have.
func entry(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// A Progress is how far a copy is.
type Progress struct {
	Name  string // of what is copied now, in the directory that it is in
	Files int    // files, directories and links so far
	Bytes int64  // of contents, holes included
}

// A SkippedError says what was left out of a copy that is otherwise complete.
type SkippedError struct {
	Errs []error // the first of them
	More int     // and how many others
}

// maxSkipped is how many a person reads.
const maxSkipped = 20

func (e *SkippedError) Error() string {
	var b strings.Builder
	for i, err := range e.Errs {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(err.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d others", e.More)
	}
	return b.String()
}

func (e *SkippedError) Unwrap() []error { return e.Errs }

func (e *SkippedError) add(err error) {
	if len(e.Errs) == maxSkipped {
		e.More++
		return
	}
	e.Errs = append(e.Errs, err)
}

// orNil is e as an error if there is anything in it.
func (e *SkippedError) orNil() error {
	if len(e.Errs) == 0 {
		return nil
	}
	return e
}
