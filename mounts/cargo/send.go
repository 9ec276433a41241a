package cargo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Send writes what is at path to w: a file, or a directory with all that is in
// it. A link at path is followed, one further down is sent as a link. The
// function progress is called often; it may be nil.
//
// What cannot be read, and what is neither file nor directory nor link, is left
// out; the stream says so too, and the error is then a [*SkippedError]. With
// any other error the stream is not complete.
func Send(w io.Writer, path string, progress func(Progress)) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	s := &sender{w: newWriter(w), progress: progress}
	switch {
	case fi.IsDir():
		root, err := os.OpenRoot(path)
		if err != nil {
			return err
		}
		defer root.Close()
		if err := s.dir(root, "", path, fi, 1); err != nil {
			return err
		}
	case fi.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := s.file(f, "", path, fi); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s: is a %s; files, directories and links are copied", path, typeName(fi.Mode()))
	}
	if err := s.w.put(record{kind: kindEnd}); err != nil {
		return err
	}
	if err := s.w.flush(); err != nil {
		return err
	}
	return s.skipped.orNil()
}

type sender struct {
	w        *writer
	progress func(Progress)
	done     Progress
	skipped  SkippedError
	buf      [maxData]byte
}

// skip leaves something out. Its own error is that of the stream.
func (s *sender) skip(err error) error {
	s.skipped.add(err)
	return s.w.put(record{kind: kindError, text: err.Error()})
}

func (s *sender) count(name string, bytes int64) {
	s.done.Bytes += bytes
	s.done.Name = name
	if s.progress != nil {
		s.progress(s.done)
	}
}

// dir sends a directory and what is in it. Its path is for messages.
func (s *sender) dir(root *os.Root, name, path string, fi fs.FileInfo, depth int) error {
	s.done.Files++
	s.count(name, 0)
	if err := s.w.put(record{kind: kindDir, mode: fi.Mode(), time: fi.ModTime(), name: name}); err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), ".") // sorted
	if err != nil {
		if err := s.skip(at(path, err)); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := s.entry(root, e.Name(), filepath.Join(path, e.Name()), depth); err != nil {
			return err
		}
	}
	return s.w.put(record{kind: kindClose})
}

// entry sends what a directory has under a name.
func (s *sender) entry(root *os.Root, name, path string, depth int) error {
	fi, err := root.Lstat(name)
	if err != nil {
		return s.skip(at(path, err))
	}
	switch mode := fi.Mode(); {
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(name)
		if err != nil {
			return s.skip(at(path, err))
		}
		s.done.Files++
		s.count(name, 0)
		return s.w.put(record{kind: kindLink, name: name, target: target})
	case mode.IsDir() && depth == maxDepth:
		return s.skip(fmt.Errorf("%s: is nested deeper than %d directories", path, maxDepth))
	case mode.IsDir():
		sub, err := root.OpenRoot(name)
		if err != nil {
			return s.skip(at(path, err))
		}
		defer sub.Close()
		return s.dir(sub, name, path, fi, depth+1)
	case mode.IsRegular():
		// It may have become something else by now, for whose opening nobody
		// is to wait.
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return s.skip(at(path, err))
		}
		defer f.Close()
		return s.file(f, name, path, fi)
	}
	return s.skip(fmt.Errorf("%s: is a %s; files, directories and links are copied", path, typeName(fi.Mode())))
}

// file sends an open file, without its holes.
func (s *sender) file(f *os.File, name, path string, fi fs.FileInfo) error {
	s.done.Files++
	s.count(name, 0)
	if err := s.w.put(record{kind: kindFile, mode: fi.Mode(), time: fi.ModTime(), size: fi.Size(), name: name}); err != nil {
		return err
	}
	sparse := false
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		sparse = st.Blocks*512 < fi.Size()
	}
	var err error
	for at := int64(0); err == nil; {
		data, end := at, int64(-1) // to the end of the file, whatever it is by then
		if sparse {
			data, end = extent(f, at, fi.Size())
		}
		if data > at {
			s.count(name, data-at)
			if werr := s.w.put(record{kind: kindHole, size: data - at}); werr != nil {
				return werr
			}
		}
		var n int64
		n, err = s.data(f, name, data, end)
		at = data + n
		if s.w.err != nil {
			return s.w.err
		}
	}
	if !errors.Is(err, io.EOF) {
		if err := s.skip(at(path, err)); err != nil {
			return err
		}
		return s.w.put(record{kind: kindDrop})
	}
	return s.w.put(record{kind: kindClose})
}

// Of lseek(2).
const (
	seekData = 3
	seekHole = 4
)

// extent is the next piece of data in a sparse file, at or behind an offset. At
// and behind the last it ends nowhere.
func extent(f *os.File, at, size int64) (data, end int64) {
	data, err := f.Seek(at, seekData)
	if errors.Is(err, syscall.ENXIO) {
		return max(at, size), -1 // a hole to the end
	}
	if err != nil {
		return at, -1 // a file system that knows no holes
	}
	if end, err = f.Seek(data, seekHole); err != nil || end >= size {
		end = -1
	}
	return data, end
}

// data sends a file's bytes from one offset to another, or to its end: then the
// error is io.EOF.
func (s *sender) data(f *os.File, name string, from, to int64) (sent int64, err error) {
	for to < 0 || from+sent < to {
		buf := s.buf[:]
		if to >= 0 {
			buf = buf[:min(int64(len(buf)), to-from-sent)]
		}
		n, err := f.ReadAt(buf, from+sent)
		if n > 0 {
			sent += int64(n)
			s.count(name, int64(n))
			if err := s.w.put(record{kind: kindData, data: buf[:n]}); err != nil {
				return sent, err
			}
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// at is err with the whole path, in place of the name that an open directory
// knows a file by.
func at(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return &fs.PathError{Op: "copy", Path: path, Err: err}
}

func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "link"
	}
	return "file"
}
