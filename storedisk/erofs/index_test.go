package erofs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sampleIndex returns an index with a path of each kind, and its encoding.
func sampleIndex(t testing.TB) (*Index, []byte) {
	t.Helper()
	dir := files{"dir/f": noise(9000), "file": "x", "link": "-> y"}.make(t, t.TempDir())
	var paths []Path
	for _, name := range []string{"dir", "file", "link"} {
		paths = append(paths, Path{name, filepath.Join(dir, name)})
	}
	_, x := build(t, paths, Options{})
	b, err := x.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return x, b
}

var allFields = cmp.AllowUnexported(Index{}, segment{})

func TestIndexRoundTrip(t *testing.T) {
	x, b := sampleIndex(t)
	var got Index
	if err := got.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(x, &got, allFields); diff != "" {
		t.Errorf("index changed on its way (-want +got):\n%s", diff)
	}
	if got.Size() != x.Size() || got.Files() != 5 {
		t.Errorf("Size(), Files() = %d, %d; want %d, 5", got.Size(), got.Files(), x.Size())
	}
}

func TestIndexDamaged(t *testing.T) {
	x, b := sampleIndex(t)
	want := *x
	check := func(what string, at int, b []byte) {
		t.Helper()
		if err := x.UnmarshalBinary(b); !errors.Is(err, ErrIndex) {
			t.Errorf("index with %s at %d: UnmarshalBinary() = %v; want ErrIndex", what, at, err)
		}
	}
	for i := range b {
		check("its end", i, b[:i])
		c := bytes.Clone(b)
		c[i] ^= 1 << (i % 8)
		check("a bit flipped", i, c)
	}
	check("more behind its end", len(b), append(bytes.Clone(b), 0))
	if diff := cmp.Diff(&want, x, allFields); diff != "" {
		t.Errorf("UnmarshalBinary() changed the index in spite of its error (-want +got):\n%s", diff)
	}
}

func TestIndexContradictory(t *testing.T) {
	tests := map[string]func(x *Index){
		"no root directory":    func(x *Index) { x.root = 0 },
		"root beyond the head": func(x *Index) { x.root = x.head },
		"head beyond the end":  func(x *Index) { x.head = x.blocks + 1 },
		"unknown layout":       func(x *Index) { x.layout = 9 },
		"names out of order":   func(x *Index) { x.segs[0], x.segs[1] = x.segs[1], x.segs[0] },
		"a name twice":         func(x *Index) { x.segs[1].Name = x.segs[0].Name },
		"a name with a slash":  func(x *Index) { x.segs[0].Name = "a/b" },
		"an unknown kind":      func(x *Index) { x.segs[0].kind = 3 },
		"an empty segment":     func(x *Index) { x.segs[0].blocks = 0 },
		"no inodes":            func(x *Index) { x.segs[0].inodes = 0 },
		"a segment in the head": func(x *Index) {
			x.segs[0].addr = x.head - 1
		},
		"a segment past the end": func(x *Index) { x.segs[0].addr = x.blocks },
		"a segment too long":     func(x *Index) { x.segs[0].blocks = 1<<32 - 1 },
		"overlapping segments":   func(x *Index) { x.segs[1].addr = x.segs[0].addr },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			x, _ := sampleIndex(t)
			edit(x)
			b, err := x.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var got Index
			if err := got.UnmarshalBinary(b); !errors.Is(err, ErrIndex) {
				t.Errorf("UnmarshalBinary() = %v; want ErrIndex", err)
			}
		})
	}
}

// FuzzIndex puts the digest right, so that the fuzzer gets past it.
func FuzzIndex(f *testing.F) {
	_, b := sampleIndex(f)
	f.Add(b[len(indexMagic) : len(b)-sha256.Size])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(indexMagic), body...)
		sum := sha256.Sum256(b)
		b = append(b, sum[:]...)
		var x Index
		if err := x.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrIndex) {
				t.Errorf("UnmarshalBinary() = %v; want ErrIndex", err)
			}
			return
		}
		// Whatever is taken for an index is one, and the only encoding of it.
		if err := x.consistent(); err != nil {
			t.Errorf("UnmarshalBinary() took an index that %v", err)
		}
		if c, err := x.MarshalBinary(); err != nil || !bytes.Equal(b, c) {
			t.Errorf("index encodes to %x, %v; want %x", c, err, b)
		}
	})
}
