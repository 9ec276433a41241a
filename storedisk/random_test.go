package storedisk_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/storedisk"
)

var seed = flag.Uint64("seed", 0, "make random trees from this seed instead of the time")

// TestRandomTrees writes random trees in each format and has the kernel read
// them back.
func TestRandomTrees(t *testing.T) {
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			t.Logf("repeat with: go test ./storedisk -run %s -seed %d", t.Name(), from)
			rnd := rand.New(rand.NewPCG(from, 0))
			for range 3 {
				g := generator{rnd, odd(name)}
				store := t.TempDir()
				c := plant(t, store, map[string]tree{"one": g.tree(), "two": g.tree(), "three": g.tree()}, false)
				img := build(t, &storedisk.Cache{Dir: t.TempDir()}, c, o)
				check := append(fsck[img.Type], img.Path)
				if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
					t.Errorf("%q: %v\n%s", check, err, out)
				}
				compareOnly(t, img, c)
			}
		})
	}
}

// odd are the bytes that names may have besides letters. debugfs and gensquashfs
// read lines.
func odd(variant string) string {
	s := " !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~\t\x01\x7f\x80\xff\u00e9"
	if variant != "ext4" && variant != "gensquashfs" {
		s += "\n\r"
	}
	return s
}

type generator struct {
	*rand.Rand
	odd string
}

// tree returns a random tree of some dozen files.
func (g generator) tree() tree {
	content := tree{}
	dirs := []string{""}
	for range 5 + g.IntN(60) {
		path := dirs[g.IntN(len(dirs))] + g.name()
		if _, taken := content[path]; taken {
			continue
		}
		switch g.IntN(6) {
		case 0:
			content[path] = dir
			dirs = append(dirs, path+"/")
		case 1:
			content[path] = link(g.text(1 + g.IntN([]int{20, 59, 60, 61, 300, 4000}[g.IntN(6)])))
		default:
			content[path] = g.text(g.size())
		}
	}
	return content
}

// size returns a length near one where something changes: nothing, an inline
// file, a block, a buffer.
func (g generator) size() int {
	edges := []int{0, 1, 60, 2048, 4032, 4064, 4096, 8192, 16384, 65536, 128 << 10, 1 << 20}
	return max(0, edges[g.IntN(len(edges))]+g.IntN(5)-2)
}

// text returns n bytes, which repeat so that they can be compressed.
func (g generator) text(n int) string {
	piece := fmt.Sprintf("%x ", g.Uint64())
	return "t" + strings.Repeat(piece, n/len(piece)+1)[:max(0, n-1)]
}

func (g generator) name() string {
	n := 1 + g.IntN([]int{3, 10, 40, 250}[g.IntN(4)])
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + g.IntN(26))
		if g.IntN(4) == 0 {
			b[i] = g.odd[g.IntN(len(g.odd))]
		}
	}
	if s := string(b); s == "." || s == ".." {
		return "dots"
	}
	return string(b)
}
