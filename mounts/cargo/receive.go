package cargo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Receive makes what r holds at target, as cp does: in target if that is a
// directory, under the given name, and as target otherwise. An empty name
// puts a directory's contents straight into target. Directories that are there
// already are added to, files and links replaced.
//
// The error is a [*SkippedError] when all is here that the other side could
// read. What is complete stays, whatever the error.
func Receive(r io.Reader, target, name string, progress func(Progress)) error {
	in, err := newReader(r)
	if err != nil {
		return err
	}
	first, err := in.next()
	if err != nil {
		return err
	}
	if first.kind != kindDir && first.kind != kindFile || first.name != "" {
		return fmt.Errorf("%w: it begins with no file and no directory", ErrStream)
	}
	dir, name, err := land(target, name, first.kind == kindDir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	rc := &receiver{in: in, progress: progress}
	defer rc.close()
	rc.dirs = []openDir{{Root: root, path: dir}}
	first.name = name
	switch {
	case name != "":
		err = rc.take(first)
	case first.kind == kindDir:
		rc.done.Files++ // it is there already
		err = rc.fill()
	default:
		err = fmt.Errorf("%w: a file in place of a directory's contents", ErrStream)
	}
	if err != nil {
		return err
	}
	return rc.skipped.orNil()
}

// land decides in which directory, and under which name, something is made. The
// name is empty for contents that go into the directory itself.
func land(target, name string, isDir bool) (dir, base string, err error) {
	fi, err := os.Stat(target)
	switch {
	case err == nil && fi.IsDir():
		return target, name, nil
	case err == nil && !fi.Mode().IsRegular():
		return "", "", fmt.Errorf("%s: is a %s and stays one", target, typeName(fi.Mode()))
	case err == nil && isDir:
		return "", "", fmt.Errorf("%s: is a file, and a directory is to be copied", target)
	case err == nil:
		// What is replaced is the file, not a link to it.
		real, err := filepath.EvalSymlinks(target)
		return filepath.Dir(real), filepath.Base(real), err
	case !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case !isDir && strings.HasSuffix(target, "/"):
		return "", "", fmt.Errorf("%s: there is no such directory", target)
	}
	clean := filepath.Clean(target)
	return filepath.Dir(clean), filepath.Base(clean), nil
}

// An openDir is a directory that entries are being made in.
type openDir struct {
	*os.Root
	path string // for messages
	made bool   // by this copy, so that mode and time are its business
	mode fs.FileMode
	time time.Time
}

type receiver struct {
	in       *reader
	progress func(Progress)
	done     Progress
	skipped  SkippedError
	dirs     []openDir // the one being filled is last
	temps    int
}

func (rc *receiver) close() {
	for _, d := range rc.dirs {
		d.Close()
	}
}

func (rc *receiver) here() *openDir { return &rc.dirs[len(rc.dirs)-1] }

func (rc *receiver) count(name string, bytes int64) {
	rc.done.Bytes += bytes
	rc.done.Name = name
	if rc.progress != nil {
		rc.progress(rc.done)
	}
}

// take makes a file or a directory and what follows of it, to the stream's end.
func (rc *receiver) take(r record) error {
	if r.kind == kindDir {
		if err := rc.enter(r); err != nil {
			return err
		}
		return rc.fill()
	}
	if err := rc.file(r); err != nil {
		return err
	}
	return rc.end()
}

// end expects the end of the stream.
func (rc *receiver) end() error {
	for {
		r, err := rc.in.next()
		switch {
		case err != nil:
			return err
		case r.kind == kindError:
			rc.skipped.add(remote(r.text))
		case r.kind == kindEnd:
			return nil
		default:
			return fmt.Errorf("%w: something follows its end", ErrStream)
		}
	}
}

// fill makes entries until the directory that the stream began with is left.
func (rc *receiver) fill() error {
	for bottom := len(rc.dirs); len(rc.dirs) >= bottom; {
		r, err := rc.in.next()
		if err != nil {
			return err
		}
		switch r.kind {
		case kindDir, kindFile, kindLink:
			if !entry(r.name) {
				return fmt.Errorf("%w: an entry called %q", ErrStream, r.name)
			}
		}
		switch r.kind {
		case kindDir:
			err = rc.enter(r)
		case kindFile:
			err = rc.file(r)
		case kindLink:
			err = rc.link(r)
		case kindClose:
			err = rc.leave()
		case kindError:
			rc.skipped.add(remote(r.text))
		default:
			err = fmt.Errorf("%w: a record of kind %d between entries", ErrStream, r.kind)
		}
		if err != nil {
			return err
		}
	}
	return rc.end()
}

// enter makes a directory, or takes the one that is there.
func (rc *receiver) enter(r record) error {
	if len(rc.dirs) > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d directories", ErrStream, maxDepth)
	}
	rc.done.Files++
	rc.count(r.name, 0)
	up := rc.here()
	d := openDir{path: filepath.Join(up.path, r.name), time: r.time}
	err := up.Mkdir(r.name, r.mode.Perm())
	d.made = err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return at(d.path, err)
	}
	fi, err := up.Lstat(r.name)
	if err != nil {
		return at(d.path, err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s: is a %s, and a directory is to be copied", d.path, typeName(fi.Mode()))
	}
	d.mode = fi.Mode().Perm()
	if d.made && d.mode&0o700 != 0o700 { // it is to be filled first
		if err := up.Chmod(r.name, d.mode|0o700); err != nil {
			return at(d.path, err)
		}
	}
	if d.Root, err = up.OpenRoot(r.name); err != nil {
		return at(d.path, err)
	}
	rc.dirs = append(rc.dirs, d)
	return nil
}

// leave completes the directory that is being filled.
func (rc *receiver) leave() error {
	d := rc.here()
	if d.made {
		if err := d.Chmod(".", d.mode); err != nil {
			return at(d.path, err)
		}
		if err := d.Chtimes(".", time.Time{}, d.time); err != nil {
			return at(d.path, err)
		}
	}
	rc.dirs = rc.dirs[:len(rc.dirs)-1]
	return d.Close()
}

// replaceable reports why what has a name now may not be replaced.
func (rc *receiver) replaceable(name, path string) error {
	fi, err := rc.here().Lstat(name)
	if err != nil {
		return nil //nolint:nilerr // then there is nothing, or making it says why not
	}
	if m := fi.Mode(); !m.IsRegular() && m&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s: is a %s, and is not replaced", path, typeName(m))
	}
	return nil
}

// temp is a name for what is not complete. Another copy may use the directory
// at the same time.
func (rc *receiver) temp() string {
	rc.temps++
	return ".mvm-cp-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.Itoa(rc.temps)
}

func (rc *receiver) link(r record) error {
	d := rc.here()
	path := filepath.Join(d.path, r.name)
	if err := rc.replaceable(r.name, path); err != nil {
		return err
	}
	rc.done.Files++
	rc.count(r.name, 0)
	temp := rc.temp()
	if err := d.Symlink(r.target, temp); err != nil {
		return at(path, err)
	}
	if err := d.Rename(temp, r.name); err != nil {
		_ = d.Remove(temp)
		return at(path, err)
	}
	return nil
}

// file makes a file. It has its name when its contents are on the disk.
func (rc *receiver) file(r record) error {
	d := rc.here()
	path := filepath.Join(d.path, r.name)
	if err := rc.replaceable(r.name, path); err != nil {
		return err
	}
	rc.done.Files++
	rc.count(r.name, 0)
	temp := rc.temp()
	f, err := d.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, r.mode.Perm())
	if err != nil {
		return at(path, err)
	}
	whole, err := rc.write(f, r.name, path)
	if cerr := f.Close(); err == nil && cerr != nil {
		err = at(path, cerr)
	}
	if err == nil && whole {
		if err = d.Chtimes(temp, time.Time{}, r.time); err == nil {
			err = d.Rename(temp, r.name)
		}
		if err != nil {
			err = at(path, err)
		}
	}
	if err != nil || !whole {
		_ = d.Remove(temp)
	}
	return err
}

// write fills a file and puts it on the disk. It reports false for one that the
// other side could not read to its end.
func (rc *receiver) write(f *os.File, name, path string) (whole bool, err error) {
	var size int64
	for {
		r, err := rc.in.next()
		if err != nil {
			return false, err
		}
		switch r.kind {
		case kindData:
			if _, err := f.WriteAt(r.data, size); err != nil {
				return false, at(path, err)
			}
			size += int64(len(r.data))
			rc.count(name, int64(len(r.data)))
		case kindHole:
			if size+r.size < size {
				return false, fmt.Errorf("%w: a file of more than 2⁶³ bytes", ErrStream)
			}
			size += r.size
			rc.count(name, r.size)
		case kindError:
			rc.skipped.add(remote(r.text))
		case kindDrop:
			return false, nil
		case kindClose:
			if err := f.Truncate(size); err != nil { // a hole may be last
				return false, at(path, err)
			}
			if err := f.Sync(); err != nil {
				return false, at(path, err)
			}
			return true, nil
		default:
			return false, fmt.Errorf("%w: a record of kind %d within a file", ErrStream, r.kind)
		}
	}
}

// A remote error is what the other side said, fit to be shown.
type remote string

func (e remote) Error() string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, string(e))
}
