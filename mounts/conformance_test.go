package mounts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A definition is the part of a machine's definition that says what it mounts,
// by microvm.nix's names.
type definition struct {
	StoreOnDisk          *bool
	StoreDiskType        string
	WritableStoreOverlay string
	Volumes              []struct {
		Image, MountPoint, FSType, Label, Serial string
		ReadOnly                                 bool
	}
	Shares []struct {
		Tag, Source, MountPoint, Proto string
		ReadOnly                       bool
	}
}

// config applies microvm.nix's defaults.
func (d definition) config() Config {
	c := Config{StoreDiskType: d.StoreDiskType, WritableStoreOverlay: d.WritableStoreOverlay}
	for _, v := range d.Volumes {
		c.Volumes = append(c.Volumes, Volume{Image: v.Image, MountPoint: v.MountPoint, FSType: v.FSType,
			Label: v.Label, Serial: v.Serial, ReadOnly: v.ReadOnly})
	}
	for _, s := range d.Shares {
		c.Shares = append(c.Shares, Share(s))
	}
	_, hostStore := c.HostStore()
	c.StoreOnDisk = !hostStore
	if d.StoreOnDisk != nil {
		c.StoreOnDisk = *d.StoreOnDisk
	}
	return c
}

// TestNixJSONIsWhatTheReferenceYields compares with what the reference's Nix
// code made of the same definitions. The tolerated difference is the wanted one:
// a disk that the reference calls by letter has its serial here.
func TestNixJSONIsWhatTheReferenceYields(t *testing.T) {
	files, err := filepath.Glob("testdata/conformance/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob() = %v, %v; want the conformance data", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var ref struct{ Definition definition }
			var want map[string]any
			for _, v := range []any{&ref, &want} {
				if err := json.Unmarshal(data, v); err != nil {
					t.Fatal(err)
				}
			}
			delete(want, "definition")

			c := ref.Definition.config()
			p, err := For(c)
			if err != nil {
				t.Fatalf("For(%+v): %v", c, err)
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(p.NixJSON()), &got); err != nil {
				t.Fatal(err)
			}
			byLetter(t, p, got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("NixJSON() differs from the reference (-want +got):\n%s", diff)
			}
		})
	}
}

// byLetter renames the disks of got that have no label as the reference does.
func byLetter(t *testing.T, p Plan, got map[string]any) {
	t.Helper()
	for _, m := range p.Mounts {
		if m.Disk == nil || m.Disk.Label != "" {
			continue
		}
		fs := got["fileSystems"].(map[string]any)[m.Where].(map[string]any)
		if serial := "/dev/disk/by-id/virtio-" + m.Disk.Serial; fs["device"] != serial {
			t.Errorf("device of %s = %v; want %s", m.Where, fs["device"], serial)
		}
		fs["device"] = "/dev/vd" + letters(m.Disk.Position)
	}
}
