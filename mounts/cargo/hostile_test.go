package cargo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stream is what a sender of one's own writes.
func stream(records ...record) []byte {
	var b bytes.Buffer
	w := newWriter(&b)
	for _, r := range records {
		_ = w.put(r)
	}
	_ = w.flush()
	return b.Bytes()
}

func TestAHostileSenderStaysInItsPlace(t *testing.T) {
	dir := record{kind: kindDir, mode: 0o755}
	file := func(name string) record { return record{kind: kindFile, mode: 0o644, name: name} }
	data := record{kind: kindData, data: []byte("gotcha")}
	done, end := record{kind: kindClose}, record{kind: kindEnd}
	sub := func(name string) record { return record{kind: kindDir, mode: 0o755, name: name} }
	link := func(name, target string) record { return record{kind: kindLink, name: name, target: target} }
	deep := []record{dir}
	for range maxDepth + 1 {
		deep = append(deep, sub("d"))
	}
	tests := []struct {
		name   string
		stream []byte
		want   string // in the error
	}{
		{"nothing", nil, "cut off"},
		{"no stream of ours", []byte("#!/bin/sh\necho hello\n"), "it begins with"},
		{"a path", stream(dir, file("../escaped"), data, done, done, end), `an entry called "../escaped"`},
		{"an absolute path", stream(dir, file("/tmp/escaped"), data, done, done, end), `an entry called "/tmp/escaped"`},
		{"the directory above", stream(dir, sub(".."), file("escaped"), data, done, done, done, end), `an entry called ".."`},
		{"no name", stream(dir, file(""), data, done, done, end), `an entry called ""`},
		{"a name with a NUL", stream(dir, file("a\x00b"), data, done, done, end), "an entry called"},
		{"a name for the whole", stream(file("escaped"), data, done, end), "begins with no file"},
		{"a link for the whole", stream(link("", "/etc"), end), "begins with no file"},
		{"through a link of its own", stream(dir, link("out", ".."), sub("out"), file("escaped"), data, done, done, done, end), "is a link, and a directory"},
		{"a file over a directory", stream(dir, sub("d"), done, file("d"), data, done, done, end), "is a directory, and is not replaced"},
		{"directories without end", stream(deep...), "nested deeper"},
		{"a file within a file", stream(dir, file("a"), file("b")), "within a file"},
		{"data without a file", stream(dir, data), "between entries"},
		{"an end too early", stream(dir, end), "between entries"},
		{"something after the end of a file", stream(file(""), data, done, file("b")), "follows its end"},
		{"cut within a file", stream(dir, file("a"), data), "cut off"},
		{"cut within a record", append(stream(dir, file("a")), byte(kindData), 100, 'x'), "cut off"},
		{"cut before the end", stream(dir, file("a"), data, done, done), "cut off"},
		{"a chunk of a gigabyte", binary.AppendUvarint(append(stream(dir, file("a")), byte(kindData)), 1<<30), "at most 32768"},
		{"a name of a megabyte", binary.AppendUvarint(append(stream(dir), byte(kindFile), 0, 0, 0), 1<<20), "at most 255"},
		{"a hole beyond all files", stream(dir, file("a"), record{kind: kindHole, size: 1 << 62}, record{kind: kindHole, size: 1 << 62}, done), "2⁶³"},
		{"set-id bits", append(stream(dir), byte(kindFile), 0x80|0x7f, 0x1f, 0, 0, 1, 'a'), "mode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			inside := filepath.Join(base, "inside")
			if err := os.Mkdir(inside, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Receive(bytes.NewReader(tt.stream), inside, "name", nil)
			if !errors.Is(err, ErrStream) && tt.want != "is a link, and a directory" && tt.want != "is a directory, and is not replaced" {
				t.Errorf("Receive() = %v; want ErrStream", err)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Receive() = %v; want %q", err, tt.want)
			}
			contained(t, base)
		})
	}
}

// contained fails unless base has only what was asked for, and nothing that was
// not finished.
func contained(t *testing.T, base string) {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"inside"}, names); diff != "" {
		t.Errorf("beside the target (-want +got):\n%s", diff)
	}
	entries, err = os.ReadDir(filepath.Join(base, "inside"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "name" {
			t.Errorf("the target has %q", e.Name())
		}
	}
	// Names only: a file may have any size, and a directory any mode.
	if err := filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
		if strings.Contains(path, ".mvm-cp-") {
			t.Errorf("%s is left", path)
		}
		if err == nil && e.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// FuzzReceive makes whatever it is told, in a directory, and must stay there.
func FuzzReceive(f *testing.F) {
	var good bytes.Buffer
	dir := f.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "c")); err != nil {
		f.Fatal(err)
	}
	if err := Send(&good, dir, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(stream(record{kind: kindFile, mode: 0o600}, record{kind: kindHole, size: 99}, record{kind: kindClose}, record{kind: kindEnd}))
	f.Add(stream(record{kind: kindDir, mode: 0o755}, record{kind: kindLink, name: "out", target: ".."}, record{kind: kindDir, name: "out"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		base := t.TempDir()
		inside := filepath.Join(base, "inside")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Receive(bytes.NewReader(b), inside, "name", nil)
		contained(t, base)
	})
}
