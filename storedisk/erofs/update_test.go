package erofs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goerofs "github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
)

// settle waits until what was just made can be told from what is made next.
func settle() { time.Sleep(settled + 50*time.Millisecond) }

// randomTree makes a store path of one of the three kinds at p.
func randomTree(t testing.TB, r *rand.Rand, p string) {
	size := func() int {
		n := blockSize * r.IntN(5)
		switch r.IntN(4) {
		case 0: // around a block
			return max(0, n-40+r.IntN(80))
		case 1:
			return r.IntN(300)
		case 2:
			return 0
		}
		return r.IntN(5 * blockSize)
	}
	text := func() string { return noise(size()) }
	if k := r.IntN(10); k < 2 {
		files{filepath.Base(p): text()}.make(t, filepath.Dir(p))
		return
	} else if k < 3 {
		files{filepath.Base(p): "-> " + strings.Repeat("t", 1+r.IntN(200))}.make(t, filepath.Dir(p))
		return
	}
	name := func() string {
		const letters = "abc-.!+~ üΩ\x01_Z"
		rs := []rune(letters)
		n := 1 + r.IntN(12)
		if r.IntN(20) == 0 {
			n = 100
		}
		var b strings.Builder
		for range n {
			b.WriteRune(rs[r.IntN(len(rs))])
		}
		if s := b.String(); s != "." && s != ".." {
			return s
		}
		return "dots"
	}
	fsys := files{"d/": ""}
	dirs := []string{"", "d/"}
	for range r.IntN(30) {
		parent := dirs[r.IntN(len(dirs))]
		switch r.IntN(5) {
		case 0:
			d := parent + name() + "D/"
			fsys[d] = ""
			dirs = append(dirs, d)
		case 1:
			fsys[parent+name()+"L"] = "-> " + strings.Repeat("x", 1+r.IntN(300))
		default:
			fsys[parent+name()] = text()
		}
	}
	fsys.make(t, p)
}

func TestRandomTrees(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 25 {
		var paths []Path
		dir := t.TempDir()
		for j := range r.IntN(6) {
			p := filepath.Join(dir, fmt.Sprint(j))
			randomTree(t, r, p)
			paths = append(paths, Path{Name: fmt.Sprintf("%d-%d", r.Uint32(), j), Source: p})
		}
		f, _ := build(t, paths, Options{Layout: Layout(i % 2), space: 8192})
		fsck(t, f)
		checkReader(t, f, paths)
		if i%5 == 0 {
			checkMount(t, f, paths)
		}
	}
}

// A closure is what a store disk may hold at one time: by name, one of several
// sources.
type closure map[string]string

func (c closure) paths() []Path {
	var paths []Path
	for _, name := range slices.Sorted(maps.Keys(c)) {
		paths = append(paths, Path{name, c[name]})
	}
	return paths
}

// pool makes n names with three sources each.
func pool(t testing.TB, r *rand.Rand, n int) (names []string, sources map[string][]string) {
	dir := t.TempDir()
	sources = map[string][]string{}
	for i := range n {
		name := fmt.Sprintf("%08x-%d", r.Uint32(), i)
		names = append(names, name)
		for j := range 3 {
			p := filepath.Join(dir, fmt.Sprint(j), name)
			randomTree(t, r, p)
			sources[name] = append(sources[name], p)
		}
	}
	settle()
	return names, sources
}

// Any history of updates ends in the bytes of a fresh build.
func TestUpdateHistories(t *testing.T) {
	for name, o := range map[string]Options{
		"roomy":   {},
		"crowded": {space: sparseHead + 180}, // so that segments collide and move
		"packed":  {Layout: Packed},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			names, sources := pool(t, r, 60)
			var all UpdateStats
			full := 0
			for range 8 {
				c := closure{}
				f, x := build(t, c.paths(), o)
				for range 12 {
					next := maps.Clone(c)
					for range 1 + r.IntN(8) {
						name := names[r.IntN(len(names))]
						if r.IntN(3) == 0 {
							delete(next, name)
						} else {
							next[name] = sources[name][r.IntN(3)]
						}
					}
					o.UUID[0] = byte(r.IntN(3))
					fresh, want := newImage(t), ""
					if _, err := Build(t.Context(), fresh, next.paths(), o); err == nil {
						want = digest(t, fresh)
					} else if !errors.Is(err, ErrNoSpace) {
						t.Fatal(err)
					}
					before := digest(t, f)

					// As a caller keeps it: through its encoding.
					b, err := x.MarshalBinary()
					if err != nil {
						t.Fatal(err)
					}
					var old Index
					if err := old.UnmarshalBinary(b); err != nil {
						t.Fatal(err)
					}
					got, st, err := Update(t.Context(), f, &old, next.paths(), o)
					if want == "" {
						full++
						if !errors.Is(err, ErrNoSpace) {
							t.Fatalf("Update() = %v; want ErrNoSpace, as of Build", err)
						}
						if after := digest(t, f); after != before {
							t.Fatalf("Update() without room changed the image from %s to %s", before, after)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if after := digest(t, f); after != want {
						t.Fatalf("updated image is %s; want %s, as of a fresh build; %+v", after, want, st)
					}
					if n := st.Kept + st.Written + st.Moved; n != len(next) {
						t.Fatalf("Update() of %d paths counts %+v", len(next), st)
					}
					all.Kept += st.Kept
					all.Written += st.Written
					all.Moved += st.Moved
					all.Removed += st.Removed
					c, x = next, got
				}
				fsck(t, f)
				checkReader(t, f, c.paths())
				f.Close()
			}
			t.Logf("%+v, %d without room", all, full)
			if all.Written == 0 || all.Removed == 0 || o.Layout == Sparse && all.Kept == 0 ||
				(o.space != 0) != (all.Moved > 0) || (o.space != 0) != (full > 0) {
				t.Errorf("histories do not test what they should: %+v, %d without room", all, full)
			}
		})
	}
}

func TestUpdateStats(t *testing.T) {
	dir := t.TempDir()
	var paths []Path
	for i := range 10 {
		src := files{"f": noise(100 * i)}.make(t, filepath.Join(dir, fmt.Sprint(i)))
		paths = append(paths, Path{fmt.Sprint("p", i), src})
	}
	settle()
	o := Options{Label: "a"}
	f, x := build(t, paths[:8], o)
	steps := []struct {
		name  string
		paths []Path
		label string
		want  UpdateStats
	}{
		{"nothing", paths[:8], "a", UpdateStats{Kept: 8}},
		{"label", paths[:8], "b", UpdateStats{Kept: 8}},
		{"one more", paths[:9], "b", UpdateStats{Kept: 8, Written: 1, Bytes: blockSize}},
		{"two gone", paths[2:9], "b", UpdateStats{Kept: 7, Removed: 2}},
		{"other source", append([]Path{{"p2", paths[9].Source}}, paths[3:9]...), "b", UpdateStats{Kept: 6, Written: 1, Bytes: blockSize}},
		{"all gone", nil, "b", UpdateStats{Removed: 7}},
		{"all new", paths, "b", UpdateStats{Written: 10, Bytes: 10 * blockSize}},
	}
	for _, tt := range steps {
		was, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		o.Label = tt.label
		y, got, err := Update(t.Context(), f, x, tt.paths, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: Update() stats differ (-want +got):\n%s", tt.name, diff)
		}
		if is, err := f.Stat(); err != nil || tt.name == "nothing" && is.ModTime() != was.ModTime() {
			t.Errorf("%s: Update() touched the image", tt.name)
		}
		fresh, _ := build(t, tt.paths, o)
		if got, want := digest(t, f), digest(t, fresh); got != want {
			t.Errorf("%s: updated image is %s; want %s", tt.name, got, want)
		}
		x = y
	}
}

// A path that was made just now is read again: another could take its place
// within the same tick of the clock.
func TestUpdateDoesNotTrustFreshPaths(t *testing.T) {
	p := Path{"p", filepath.Join(t.TempDir(), "p")}
	if err := os.WriteFile(p.Source, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, x := build(t, []Path{p}, Options{})
	for i, want := range []UpdateStats{{Written: 1, Bytes: blockSize}, {Kept: 1}} {
		settle()
		var st UpdateStats
		var err error
		if x, st, err = Update(t.Context(), f, x, []Path{p}, Options{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, st); diff != "" {
			t.Errorf("update %d: stats differ (-want +got):\n%s", i+1, diff)
		}
	}
}

// An update that is cut short leaves nothing that could be taken for an image.
func TestUpdateCutShort(t *testing.T) {
	dir := t.TempDir()
	old := []Path{{"a", files{"f": noise(9 << 20)}.make(t, filepath.Join(dir, "a"))}}
	now := []Path{{"b", files{"f": noise(9<<20 + 1)}.make(t, filepath.Join(dir, "b"))}, {"c", filepath.Join(dir, "a")}}
	settle()

	cancelled := errors.New("cancelled by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	f, x := build(t, old, Options{})
	_, _, err := Update(ctx, f, x, now, Options{Jobs: 1, Progress: func(int64, int64) { cancel(cancelled) }})
	if !errors.Is(err, cancelled) {
		t.Fatalf("Update() = %v; want %v", err, cancelled)
	}
	if _, err := goerofs.Open(f); err == nil {
		t.Error("half an update opens as an image")
	}
	// Even a caller that forgot to remove the index is told.
	if _, _, err := Update(t.Context(), f, x, now, Options{}); !errors.Is(err, ErrIndex) {
		t.Errorf("Update() of half an update = %v; want ErrIndex", err)
	}
}

func TestUpdateRefusesForeignIndex(t *testing.T) {
	dir := t.TempDir()
	paths := []Path{{"a", files{"f": "x"}.make(t, filepath.Join(dir, "a"))}}
	tests := []struct {
		name string
		edit func(x *Index, o *Options)
	}{
		{"of another boot", func(x *Index, _ *Options) { x.boot[3]++ }},
		{"of no boot", func(x *Index, _ *Options) { x.boot = [16]byte{} }},
		{"of another image", func(x *Index, _ *Options) { x.sum[0]++ }},
		{"of another size", func(x *Index, _ *Options) { x.blocks++ }},
		{"for another layout", func(_ *Index, o *Options) { o.Layout = Packed }},
		{"for another space", func(_ *Index, o *Options) { o.space = 4096 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, x := build(t, paths, Options{})
			before := digest(t, f)
			var o Options
			tt.edit(x, &o)
			if _, _, err := Update(t.Context(), f, x, paths, o); !errors.Is(err, ErrIndex) {
				t.Errorf("Update() = %v; want ErrIndex", err)
			}
			if after := digest(t, f); after != before {
				t.Errorf("Update() changed the image from %s to %s", before, after)
			}
		})
	}
	t.Run("truncated image", func(t *testing.T) {
		f, x := build(t, paths, Options{})
		if err := f.Truncate(8192); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Update(t.Context(), f, x, paths, Options{}); !errors.Is(err, ErrIndex) {
			t.Errorf("Update() = %v; want ErrIndex", err)
		}
	})
}
