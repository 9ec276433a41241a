package erofs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// segmentsOf returns segments of the given sizes in blocks, sorted by name.
func segmentsOf(sizes map[string]uint32) []*segment {
	var segs []*segment
	for name, n := range sizes {
		segs = append(segs, &segment{Path: Path{Name: name}, blocks: n})
	}
	slices.SortFunc(segs, func(a, b *segment) int { return cmp.Compare(a.Name, b.Name) })
	return segs
}

// addresses returns where segs are, after checking that they do not overlap.
func addresses(t *testing.T, segs []*segment, p *plan) map[string]uint32 {
	t.Helper()
	m := map[string]uint32{}
	at := p.headEnd
	for _, s := range byAddress(segs) {
		if s.addr < at || s.end() > p.blocks {
			t.Errorf("%s is at [%d,%d); want it in [%d,%d)", s.Name, s.addr, s.end(), at, p.blocks)
		}
		m[s.Name], at = s.addr, s.end()
	}
	return m
}

func TestFirstFit(t *testing.T) {
	p := &plan{headEnd: 256, blocks: 1000}
	at := func(addr, blocks uint32) *segment { return &segment{addr: addr, blocks: blocks} }
	placed := []*segment{at(300, 100), at(400, 50), at(500, 100), at(900, 50)}
	tests := []struct {
		name       string
		from, size uint32
		addr       uint32 // 0 if there is no place
		index      int
	}{
		{"free", 600, 10, 600, 3},
		{"before all", 256, 44, 256, 0},
		{"gap too small", 256, 45, 450, 2},
		{"on a segment's start", 300, 1, 450, 2},
		{"inside a segment", 350, 50, 450, 2},
		{"runs into the next", 480, 21, 600, 3},
		{"fits exactly before the next", 480, 20, 480, 2},
		{"last gap", 940, 50, 950, 4},
		{"past the end", 940, 51, 0, 0},
		{"largest gap", 256, 300, 600, 3},
		{"none that large", 256, 301, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &segment{blocks: tt.size}
			i, ok := p.firstFit(placed, s, tt.from)
			if ok != (tt.addr != 0) || s.addr != tt.addr || i != tt.index {
				t.Errorf("firstFit(%d blocks, from %d) = %d, %v at %d; want %d at %d",
					tt.size, tt.from, i, ok, s.addr, tt.index, tt.addr)
			}
		})
	}
}

func TestPlaceGoesRoundAtTheEnd(t *testing.T) {
	// Three quarters of the space are one segment, so that others have to
	// search, and some of them past the end.
	sizes := map[string]uint32{"big": 3 << 10}
	for i := range 60 {
		sizes[fmt.Sprint("s", i)] = 8
	}
	segs := segmentsOf(sizes)
	p, err := place(segs, Options{space: 4<<10 + sparseHead})
	if err != nil {
		t.Fatal(err)
	}
	m := addresses(t, segs, p)
	if m["s0"] == 0 || len(m) != 61 {
		t.Errorf("place() placed %d segments; want 61", len(m))
	}
}

// A newcomer may push away smaller segments, and those of its size that come
// later by name, but no others.
func TestPlaceKeepsLargerSegments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	moved := 0
	for range 300 {
		sizes := map[string]uint32{}
		for i := range 40 {
			sizes[fmt.Sprintf("%d-%d", r.Uint32(), i)] = 1 + uint32(r.ExpFloat64()*20)
		}
		o := Options{space: 2000}
		segs := segmentsOf(sizes)
		p, err := place(segs, o)
		if err != nil {
			t.Fatal(err)
		}
		before := addresses(t, segs, p)

		name, size := fmt.Sprint(r.Uint32()), 1+uint32(r.ExpFloat64()*40)
		sizes[name] = size
		segs = segmentsOf(sizes)
		if p, err = place(segs, o); err != nil {
			t.Fatal(err)
		}
		after := addresses(t, segs, p)
		for n, addr := range before {
			if after[n] == addr {
				continue
			}
			moved++
			if sizes[n] > size || sizes[n] == size && n < name {
				t.Errorf("%s of %d blocks moved for %s of %d", n, sizes[n], name, size)
			}
		}
	}
	if moved == 0 {
		t.Error("no segment ever moved; the space is too large to test that")
	}
}

func TestPlaceHead(t *testing.T) {
	tests := []struct {
		paths, nameLen int
		head           uint32
	}{
		{0, 50, 256},
		{2500, 50, 256},
		{16_000, 50, 256},
		{17_000, 50, 512},
		{34_000, 50, 1024},
		{3800, 255, 256},
		{4000, 255, 512},
	}
	for _, tt := range tests {
		sizes := map[string]uint32{}
		for i := range tt.paths {
			sizes[fmt.Sprintf("%0*d", tt.nameLen, i)] = 1
		}
		segs := segmentsOf(sizes)
		p, err := place(segs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		addresses(t, segs, p)
		if p.headEnd != tt.head {
			t.Errorf("place() of %d paths: head is %d blocks; want %d", tt.paths, p.headEnd, tt.head)
		}
	}
}

func TestPlaceWithoutRoom(t *testing.T) {
	tests := []struct {
		name  string
		space uint32
		sizes map[string]uint32
		l     Layout
	}{
		{"no room behind the head", sparseHead, nil, Sparse},
		{"one too large", sparseHead + 10, map[string]uint32{"a": 11}, Sparse},
		{"two too large", sparseHead + 10, map[string]uint32{"a": 6, "b": 5}, Sparse},
		{"packed past 32 bits", 0, map[string]uint32{"a": 1 << 31, "b": 1 << 31, "c": 9}, Packed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := place(segmentsOf(tt.sizes), Options{space: tt.space, Layout: tt.l}); !errors.Is(err, ErrNoSpace) {
				t.Errorf("place() = %v; want ErrNoSpace", err)
			}
		})
	}
}
