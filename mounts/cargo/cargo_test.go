package cargo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree makes files below a new directory: a name with a slash at its end is a
// directory, a content that begins with "->" a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, isLink := strings.CutPrefix(content, "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// list is what is below a directory, each with its mode and content. Times are
// those of files and directories, in seconds, if they are asked for.
func list(t *testing.T, dir string, times bool) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		text := fi.Mode().String()
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(b)
			fallthrough
		default:
			if times {
				text += fmt.Sprintf(" at %d", fi.ModTime().Unix())
			}
		}
		rel, err := filepath.Rel(dir, path)
		found[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// carry copies as the two sides do.
func carry(from, to, name string) error {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := Send(w, from, nil)
		w.CloseWithError(io.EOF)
		sent <- err
	}()
	err := Receive(r, to, name, nil)
	r.Close()
	if serr := <-sent; err == nil {
		return serr
	}
	return err
}

func TestATreeArrivesAsItWas(t *testing.T) {
	from := tree(t, map[string]string{
		"a": "hello\n", "empty": "", "big": strings.Repeat("0123456789abcdef", 10_000),
		"bin/run": "#!/bin/sh\n", "deep/1/2/3/4/f": "deep", "nothing/": "",
		"here": "->a", "there": "->/etc/passwd", "nowhere": "->../../../gone", "deep/up": "->..",
		"name with  space, ünicode and\nnewline": "x",
		"locked/f": "readable",
	})
	for path, mode := range map[string]fs.FileMode{"bin/run": 0o755, "empty": 0o400, "a": 0o600, "locked": 0o555} {
		if err := os.Chmod(filepath.Join(from, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(from, "locked"), 0o755) })
	old := time.Unix(1_000_000_000, 5)
	for _, name := range []string{"a", "deep/1", "locked"} {
		if err := os.Chtimes(filepath.Join(from, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), "copy")
	if err := carry(from, to, "x"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(to, "locked"), 0o755) })
	if diff := cmp.Diff(list(t, from, true), list(t, to, true)); diff != "" {
		t.Errorf("the copy differs (-from +to):\n%s", diff)
	}
}

func TestHolesStayHoles(t *testing.T) {
	dir := t.TempDir()
	noise := make([]byte, 100_000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	for name, offsets := range map[string][]int64{
		"begins with a hole": {64 << 20}, "data between": {0, 200 << 20}, "two": {1 << 20, 50 << 20}, "only a hole": nil,
	} {
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, name)
		f, err := os.Create(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range offsets {
			if _, err := f.WriteAt(noise, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(300 << 20); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		var stream bytes.Buffer
		if err := Send(&stream, from, nil); err != nil {
			t.Fatal(err)
		}
		if stream.Len() > 1<<20 {
			t.Errorf("%s: the stream has %d bytes; want about %d", name, stream.Len(), len(offsets)*len(noise))
		}
		if err := Receive(&stream, to, "", nil); err != nil {
			t.Fatal(err)
		}
		if !equalFiles(t, from, to) {
			t.Errorf("%s: the copy differs", name)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(to, &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 > 2<<20 {
			t.Errorf("%s: the copy takes %d bytes of disk", name, st.Blocks*512)
		}
	}
}

func equalFiles(t *testing.T, a, b string) bool {
	t.Helper()
	var files [2]*os.File
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err1 := io.ReadFull(files[0], x)
		m, err2 := io.ReadFull(files[1], y)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false
		}
		if err1 != nil || err2 != nil {
			return errors.Is(err1, io.EOF) == errors.Is(err2, io.EOF)
		}
	}
}

func TestWhereACopyLands(t *testing.T) {
	file, dir := map[string]string{"src": "new"}, map[string]string{"src/f": "new", "src/sub/g": "new"}
	tests := []struct {
		name     string
		from, at map[string]string // at has what is there before
		to       string
		want     map[string]string
		err      string
	}{
		{"a file under a new name", file, nil, "dst", map[string]string{"dst": "new"}, ""},
		{"a file into a directory", file, map[string]string{"d/": ""}, "d", map[string]string{"d/src": "new"}, ""},
		{"a file over a file", file, map[string]string{"dst": "old"}, "dst", map[string]string{"dst": "new"}, ""},
		{"a file over a link to a file", file, map[string]string{"real": "old", "dst": "->real"}, "dst", map[string]string{"real": "new", "dst": "->real"}, ""},
		{"a file over a link in the directory", file, map[string]string{"real": "old", "d/src": "->../real"}, "d", map[string]string{"real": "old", "d/src": "new"}, ""},
		{"a file over a directory", file, map[string]string{"d/src/": ""}, "d", nil, "d/src: is a directory, and is not replaced"},
		{"a file into no directory", file, nil, "d/", nil, "there is no such directory"},
		{"a file under no directory", file, nil, "d/e", nil, "no such file or directory"},
		{"a directory under a new name", dir, nil, "dst", map[string]string{"dst/f": "new", "dst/sub/g": "new"}, ""},
		{"a directory into a directory", dir, map[string]string{"d/": ""}, "d", map[string]string{"d/src/f": "new", "d/src/sub/g": "new"}, ""},
		{"a directory into one that has it", dir, map[string]string{"d/src/f": "old", "d/src/h": "old"}, "d", map[string]string{"d/src/f": "new", "d/src/h": "old", "d/src/sub/g": "new"}, ""},
		{"a directory over a file", dir, map[string]string{"dst": "old"}, "dst", nil, "is a file, and a directory is to be copied"},
		{"a directory through a link", dir, map[string]string{"d/src": "->../other", "other/": ""}, "d", nil, "d/src: is a link, and a directory is to be copied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to := tree(t, tt.from), tree(t, tt.at)
			before := list(t, to, false)
			err := carry(filepath.Join(from, "src"), filepath.Join(to)+"/"+tt.to, "src")
			want := before
			if tt.err == "" {
				want = list(t, tree(t, tt.want), false)
			}
			if got := fmt.Sprint(err); !strings.Contains(got, tt.err) || (err == nil) != (tt.err == "") {
				t.Errorf("copy = %v; want %q", err, tt.err)
			}
			if diff := cmp.Diff(want, list(t, to, false)); diff != "" {
				t.Errorf("there is now (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContentsGoStraightIn(t *testing.T) {
	from := tree(t, map[string]string{"f": "1", "d/g": "2"})
	to := tree(t, map[string]string{"h": "3"})
	if err := carry(from, to, ""); err != nil {
		t.Fatal(err)
	}
	want := list(t, tree(t, map[string]string{"f": "1", "d/g": "2", "h": "3"}), false)
	if diff := cmp.Diff(want, list(t, to, false)); diff != "" {
		t.Errorf("there is now (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeCopiedIsLeftOutAndNamed(t *testing.T) {
	from := tree(t, map[string]string{"a": "1", "z": "2"})
	if err := syscall.Mkfifo(filepath.Join(from, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy")
	var stream bytes.Buffer
	serr := Send(&stream, from, nil)
	rerr := Receive(&stream, to, "x", nil)
	for who, err := range map[string]error{"Send": serr, "Receive": rerr} {
		var skipped *SkippedError
		if !errors.As(err, &skipped) || !strings.Contains(err.Error(), "pipe: is a pipe") {
			t.Errorf("%s() = %v; want a SkippedError that names the pipe", who, err)
		}
	}
	want := list(t, tree(t, map[string]string{"a": "1", "z": "2"}), false)
	if diff := cmp.Diff(want, list(t, to, false)); diff != "" {
		t.Errorf("there is now (-want +got):\n%s", diff)
	}
	if err := Send(io.Discard, filepath.Join(from, "pipe"), nil); err == nil || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("Send() of a pipe = %v", err)
	}
}

func TestADeviceIsNotReplaced(t *testing.T) {
	from := tree(t, map[string]string{"f": "1"})
	if err := carry(filepath.Join(from, "f"), "/dev/null", "f"); err == nil || !strings.Contains(err.Error(), "/dev/null: is a device and stays one") {
		t.Errorf("copy to /dev/null = %v", err)
	}
}

func TestProgressReachesTheEnd(t *testing.T) {
	from := tree(t, map[string]string{"f": strings.Repeat("x", 100_000), "d/g": "12345", "l": "->f"})
	var sent, received Progress
	var stream bytes.Buffer
	if err := Send(&stream, from, func(p Progress) { sent = p }); err != nil {
		t.Fatal(err)
	}
	if err := Receive(&stream, filepath.Join(t.TempDir(), "c"), "x", func(p Progress) { received = p }); err != nil {
		t.Fatal(err)
	}
	want := Progress{Name: "l", Files: 5, Bytes: 100_005}
	if sent != want || received != want {
		t.Errorf("progress ended with %+v and %+v; want %+v", sent, received, want)
	}
}
