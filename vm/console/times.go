package console

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"time"
)

// timesName is the file beside a log that says when what was written: marks, of
// which each is a time in milliseconds since the epoch and an offset in the log,
// in 8 bytes each, big endian. It turns over with the log.
func timesName(path string) string { return path + ".times" }

const (
	markSize = 16

	// markEvery is how exactly a log knows its times.
	markEvery = time.Second

	// maxMarks makes a log turn over before its times are longer than it: a
	// guest may write one byte a second.
	maxMarks = 64 << 10
)

// times are a log's marks while it is written.
type times struct {
	f    *os.File
	last time.Time
	n    int64
}

// openTimes opens the marks of the log at path, which has size bytes. Marks that
// are not of this log, because somebody emptied it, are dropped.
func openTimes(path string, size int64) (*times, error) {
	f, err := os.OpenFile(timesName(path), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	t := &times{f: f}
	fi, err := f.Stat()
	if err == nil {
		t.n = fi.Size() / markSize
		err = f.Truncate(t.n * markSize) // a crash may have torn the last
	}
	if err == nil && t.n > 0 {
		var m [markSize]byte
		if _, err = f.ReadAt(m[:], (t.n-1)*markSize); err == nil {
			if _, at := mark(m[:]); at > size {
				t.n, err = 0, f.Truncate(0)
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func mark(b []byte) (at time.Time, offset int64) {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))), int64(binary.BigEndian.Uint64(b[8:]))
}

// note marks what is written now, at an offset, unless the last mark is fresh. A
// clock that was set back is as good as a new one.
func (t *times) note(now time.Time, offset int64) error {
	if d := now.Sub(t.last); t.n > 0 && d >= 0 && d < markEvery {
		return nil
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	if _, err := t.f.Write(b); err != nil {
		return err
	}
	t.last = now
	t.n++
	return nil
}

// OffsetSince is where in the log at path that begins which was written at a time or
// later, to a second: up to a second more may be included. It is false when
// nothing was.
func OffsetSince(path string, since time.Time) (offset int64, ok bool, err error) {
	b, err := os.ReadFile(timesName(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	for ; len(b) >= markSize; b = b[markSize:] {
		// What follows a mark is up to a second younger.
		if at, offset := mark(b); at.After(since.Add(-markEvery)) {
			return offset, true, nil
		}
	}
	return 0, false, nil
}
