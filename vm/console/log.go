package console

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// A Log is a file that turns over: when it has reached its limit it becomes
// "NAME.1", replacing an older one, and a new file begins. Both together hold
// at least the last limit bytes and at most twice as many, unless very little
// comes over a very long time. Beside each file there is one with the times at
// which it was written: see [OffsetSince]. It is for one goroutine.
type Log struct {
	path  string
	limit int64
	f     *os.File
	size  int64
	times *times
	now   func() time.Time
}

// OpenLog opens the log at path for appending and creates it with mode 0600.
func OpenLog(path string, limit int64) (*Log, error) {
	l := &Log{path: path, limit: limit, now: time.Now}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	t, err := openTimes(l.path, fi.Size())
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size, l.times = f, fi.Size(), t
	return nil
}

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	if l.size > 0 && (l.size+int64(len(p)) > l.limit || l.times.n >= maxMarks) {
		if err := l.turn(); err != nil {
			return 0, fmt.Errorf("turn over %s: %w", l.path, err)
		}
	}
	if err := l.times.note(l.now(), l.size); err != nil {
		return 0, err
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *Log) turn() error {
	if err := l.Close(); err != nil {
		return err
	}
	// The times first: without any, nothing is said of the log's.
	if err := os.Rename(timesName(l.path), timesName(l.path+".1")); err != nil {
		return err
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	return l.open()
}

// Close closes the files.
func (l *Log) Close() error { return errors.Join(l.f.Close(), l.times.f.Close()) }
