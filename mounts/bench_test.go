package mounts

import (
	"fmt"
	"testing"
)

// large is a definition with 200 mounts, volumes and shares nested in each
// other and listed from the inside out.
func large() Config {
	c := Config{StoreOnDisk: true, WritableStoreOverlay: "/data/0/0"}
	for i := 19; i >= 0; i-- {
		for j := 9; j >= 0; j-- {
			n := i*10 + j
			where := fmt.Sprintf("/data/%d/%d", i, j)
			if j == 9 {
				where = fmt.Sprintf("/data/%d", i)
			}
			switch {
			case n >= 197: // three are the root, the store and the overlay
			case n%2 == 0:
				c.Volumes = append(c.Volumes, Volume{Image: where, MountPoint: where, Label: fmt.Sprintf("volume %d", n)})
			default:
				c.Shares = append(c.Shares, Share{Tag: fmt.Sprintf("share-%d", n), Source: "/srv" + where, MountPoint: where, Proto: "virtiofs"})
			}
		}
	}
	return c
}

func BenchmarkPlanOf200Mounts(b *testing.B) {
	c := large()
	if n := len(mustFor(b, c).Mounts); n != 200 {
		b.Fatalf("the plan has %d mounts; want 200", n)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := For(c)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Check(); err != nil {
			b.Fatal(err)
		}
		if _, err := Encode(p); err != nil {
			b.Fatal(err)
		}
		p.NixJSON()
		p.Fstab()
		p.Nix()
		p.InitrdUnits()
		p.SystemUnits()
	}
}
