package mounts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRenderingsAreAsKept(t *testing.T) {
	for _, s := range plans(t) {
		t.Run(s.name, func(t *testing.T) {
			p := s.plan
			plan, err := Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, s.name+".json", string(plan))
			golden(t, s.name+".nix.json", p.NixJSON())
			golden(t, s.name+".fstab", p.Fstab())
			golden(t, s.name+".nix", p.Nix())
			golden(t, s.name+".units", "in the initrd\n"+listing(p.InitrdUnits())+"\nin the system\n"+listing(p.SystemUnits()))
		})
	}
}

func listing(units []Unit) string {
	var b strings.Builder
	for _, u := range units {
		fmt.Fprintf(&b, "\n%s:\n%s\n", u.Name, indent(u.Text))
	}
	return b.String()
}

// TestFindmntReadsTheFstabBack asks libmount, which mount(8), systemd and
// findmnt share, what it understands.
func TestFindmntReadsTheFstabBack(t *testing.T) {
	for _, s := range plans(t) {
		t.Run(s.name, func(t *testing.T) {
			p := s.plan
			file := filepath.Join(t.TempDir(), "fstab")
			if err := os.WriteFile(file, []byte(p.Fstab()), 0o644); err != nil {
				t.Fatal(err)
			}
			var want []fstabEntry
			for _, m := range p.Mounts {
				want = append(want, entryOf(m))
			}
			if diff := cmp.Diff(want, findmnt(t, file)); diff != "" {
				t.Errorf("findmnt reads something else (-want +got):\n%s\n%s", diff, p.Fstab())
			}

			// It also looks for the sources and targets on this host, for the
			// types in this kernel, and has a wish about the root.
			elsewhere := regexp.MustCompile(`unreachable|does not exist|cannot detect on-disk|` +
				`seems unsupported by the current kernel|recommended root FS passno`)
			out, summary, _ := run(t, "util-linux", "findmnt", "--verify", "--tab-file", file)
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "   [") && !elsewhere.MatchString(line) {
					t.Errorf("findmnt --verify: %s", line)
				}
			}
			if !strings.Contains(summary, "0 parse errors") {
				t.Errorf("findmnt --verify: %s", summary)
			}
		})
	}
}

type fstabEntry struct{ Source, Target, FSType, Options string }

func entryOf(m Mount) fstabEntry {
	e := fstabEntry{m.source(), m.Where, m.Type, fstabOptions(m)}
	if m.Bind() {
		e.FSType = "none"
	}
	return e
}

// findmnt reads a file in the format of fstab.
func findmnt(t *testing.T, file string) []fstabEntry {
	t.Helper()
	out, stderr, err := run(t, "util-linux", "findmnt", "--json", "--list", "--noheadings",
		"--output", "SOURCE,TARGET,FSTYPE,OPTIONS", "--tab-file", file)
	if err != nil {
		t.Fatalf("findmnt: %v\n%s", err, stderr)
	}
	var table struct{ Filesystems []fstabEntry }
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		t.Fatalf("findmnt: %v\n%s", err, out)
	}
	return table.Filesystems
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	for _, s := range plans(t) {
		p := s.plan
		for where, units := range map[string][]Unit{"initrd": p.InitrdUnits(), "system": p.SystemUnits()} {
			t.Run(s.name+"/"+where, func(t *testing.T) {
				dir := t.TempDir()
				args := []string{"verify", "--man=no"}
				for _, u := range units {
					file := filepath.Join(dir, u.Name)
					if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(u.Text), 0o644); err != nil {
						t.Fatal(err)
					}
					if filepath.Dir(file) == dir {
						args = append(args, file)
					}
				}
				t.Setenv("SYSTEMD_UNIT_PATH", dir+":/usr/lib/systemd/system:/lib/systemd/system")
				_, stderr, err := run(t, "systemd", "systemd-analyze", args...)
				if err != nil || stderr != "" {
					t.Errorf("systemd-analyze %v: %v\n%s%s", args, err, stderr, listing(units))
				}
			})
		}
	}
}

// TestInitrdUnitsSayWhatTheReferenceSays looks for the reference's two units of
// a systemd initrd among ours, line by line.
func TestInitrdUnitsSayWhatTheReferenceSays(t *testing.T) {
	p := mustFor(t, Config{StoreOnDisk: true, WritableStoreOverlay: "/nix/.rw-store"})
	want := map[string][]string{
		"sysroot-nix-store.mount": {
			"What=overlay", "Where=/sysroot/nix/store", "Type=overlay",
			"Options=lowerdir=/sysroot/nix/.ro-store,upperdir=/sysroot/nix/.rw-store/store,workdir=/sysroot/nix/.rw-store/work",
			"Before=initrd-fs.target", "Requires=rw-store.service", "After=rw-store.service",
			"RequiresMountsFor=/sysroot/nix/.ro-store",
		},
		"rw-store.service": {
			"DefaultDependencies=no", "RequiresMountsFor=/sysroot/nix/.rw-store", "Type=oneshot",
			"ExecStart=/bin/mkdir -p -m 0755 /sysroot/nix/.rw-store/store /sysroot/nix/.rw-store/work /sysroot/nix/store",
		},
		"initrd-fs.target.d/mvm.conf": {"Requires=sysroot-nix-store.mount"}, // its wantedBy, and stronger
	}
	for _, u := range p.InitrdUnits() {
		for _, line := range want[u.Name] {
			if !strings.Contains(u.Text, line+"\n") {
				t.Errorf("%s has no line %s:\n%s", u.Name, line, u.Text)
			}
		}
		delete(want, u.Name)
	}
	if len(want) > 0 {
		t.Errorf("InitrdUnits() lacks %v", want)
	}
}

func TestUnitNameIsSystemdsOwn(t *testing.T) {
	paths := []string{
		"/", "/nix/store", "/nix/.ro-store", "/.hidden", "/a.b/.c", "/a-b", `/a\b`, "/a b", "/é", "/a@b", "/a:b_c",
		"/50%", "/x/\"'$", "/srv/${x}#1", "/a,b", "/~", "/-", "/.", "/0",
	}
	for _, p := range paths {
		want, stderr, err := run(t, "systemd", "systemd-escape", "--path", "--suffix=mount", "--", p)
		if err != nil {
			t.Errorf("systemd-escape %s: %v\n%s", p, err, stderr)
			continue
		}
		if got := UnitName(p); got != strings.TrimSuffix(want, "\n") {
			t.Errorf("UnitName(%q) = %s; want %s", p, got, want)
		}
	}
}

// TestNixReadsTheModule evaluates the fragment and looks for each value.
func TestNixReadsTheModule(t *testing.T) {
	for _, s := range plans(t) {
		t.Run(s.name, func(t *testing.T) {
			p := s.plan
			file := filepath.Join(t.TempDir(), "mounts.nix")
			if err := os.WriteFile(file, []byte(p.Nix()), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, stderr, err := run(t, "nix-bin", "nix-instantiate", "--parse", file); err != nil {
				t.Fatalf("nix-instantiate --parse: %v\n%s", err, stderr)
			}
			t.Setenv("NIX_STORE_DIR", filepath.Join(t.TempDir(), "store"))
			t.Setenv("NIX_STATE_DIR", filepath.Join(t.TempDir(), "state"))
			out, stderr, err := run(t, "nix-bin", "nix-instantiate", "--eval", "--strict", "--json", file)
			if err != nil {
				t.Fatalf("nix-instantiate --eval: %v\n%s", err, stderr)
			}
			var got struct {
				FileSystems map[string]struct {
					Device, FSType         string
					Options, Depends       []string
					NeededForBoot, NoCheck bool
				}
				Boot struct{ Initrd struct{ Systemd any } }
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if len(got.FileSystems) != len(p.Mounts) {
				t.Errorf("%d file systems; want %d", len(got.FileSystems), len(p.Mounts))
			}
			boot := p.bootMounts()
			for i, m := range p.Mounts {
				fs := got.FileSystems[m.Where]
				e := entryOf(m)
				if fs.Device != e.Source || fs.FSType != e.FSType || fs.NeededForBoot != boot[i] || fs.NoCheck != m.NoCheck {
					t.Errorf("fileSystems.%q = %+v; want %+v", m.Where, fs, m)
				}
				if diff := cmp.Diff(slices.Concat(m.Options, m.Added), fs.Options); diff != "" {
					t.Errorf("options of %q (-want +got):\n%s", m.Where, diff)
				}
				if diff := cmp.Diff(m.Depends, fs.Depends); diff != "" {
					t.Errorf("depends of %q (-want +got):\n%s", m.Where, diff)
				}
			}
			_, overlay := p.storeOverlay()
			if has := got.Boot.Initrd.Systemd != nil; has != overlay {
				t.Errorf("boot.initrd.systemd is set = %v; want %v", has, overlay)
			}
		})
	}
}
