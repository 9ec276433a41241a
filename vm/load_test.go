package vm

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var updateDefinitions = flag.Bool("update-definitions", false, "rewrite testdata/definition from what is reported now")

// sameConfig compares what was written, not where.
var sameConfig = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()}

// goldenDefinition compares got with a file of testdata/definition.
func goldenDefinition(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", "definition", file)
	if *updateDefinitions {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run: go test ./vm -update-definitions)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s changed (-want +got); if intended, run go test ./vm -update-definitions:\n%s", file, diff)
	}
}

// definitionMessage is an error's text without the directory of the tests.
func definitionMessage(err error) string {
	if err == nil {
		return "ok\n"
	}
	return strings.ReplaceAll(err.Error(), filepath.Join("testdata", "definition")+"/", "") + "\n"
}

// TestEverythingWrongIsReportedAtOnce shows a reader of the golden files what
// mvm says about a whole file.
func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	for _, file := range []string{"wrong.toml", "wrong.json"} {
		_, err := Load(filepath.Join("testdata", "definition", file))
		goldenDefinition(t, file+".golden", definitionMessage(err))
	}
}

// TestRules reads cases of the form
//
//	== title
//	a definition
//	-- its file's name
//	what Load or else Check says
func TestRules(t *testing.T) {
	for _, name := range []string{"syntax", "machine", "store", "disks", "net"} {
		file := filepath.Join("rules", name+".txt")
		text, err := os.ReadFile(filepath.Join("testdata", "definition", file))
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, c := range strings.Split("\n"+string(text), "\n== ")[1:] {
			title, rest, _ := strings.Cut(c, "\n")
			body, rest, found := strings.Cut("\n"+rest, "\n-- ")
			if !found {
				t.Fatalf("%s: case %q has no file name", file, title)
			}
			fileName, _, _ := strings.Cut(rest, "\n")
			body = strings.TrimPrefix(body, "\n")
			cfg, err := Parse(fileName, []byte(body))
			if err == nil {
				err = cfg.CheckRules()
			}
			fmt.Fprintf(&got, "== %s\n%s\n-- %s\n%s", title, body, fileName, withoutNotYet(definitionMessage(err)))
		}
		goldenDefinition(t, file, strings.ReplaceAll(got.String(), "\n\n-- ", "\n-- "))
	}
}

// withoutNotYet drops what changes with every version.
func withoutNotYet(s string) string {
	var kept []string
	lines := strings.Split(s, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasSuffix(lines[i], "not carried out by this version of mvm") {
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") {
				i++
			}
			continue
		}
		kept = append(kept, lines[i])
	}
	return strings.Join(kept, "\n")
}

// TestEveryKeyInBothFormats reads one definition that has every key, as TOML
// and as the JSON that the resulting Config is written as.
func TestEveryKeyInBothFormats(t *testing.T) {
	c, err := Load(filepath.Join("testdata", "definition", "everything.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckRules(); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	goldenDefinition(t, "everything.json", string(text)+"\n")
	again, err := Parse("everything.json", text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, again, sameConfig); diff != "" {
		t.Errorf("the JSON form means something else (-toml +json):\n%s", diff)
	}
	for _, key := range allKeys() {
		if key == "closureInfo" {
			continue // excludes storePaths
		}
		found := false
		for written := range c.src.sites {
			found = found || anyIndex(written) == key || strings.HasPrefix(anyIndex(written), key+".")
		}
		if !found {
			t.Errorf("everything.toml lacks the key %s", key)
		}
	}
}

// TestConformanceDefinitionsLoad reads the definitions that the mount plans are
// tested with.
func TestConformanceDefinitionsLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/definition/conformance/*.json")
	if err != nil || len(files) != 12 {
		t.Fatalf("%d definitions, %v; want 12", len(files), err)
	}
	for _, file := range files {
		c, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := c.CheckRules(); err != nil {
			t.Error(err)
		}
	}
}

func TestOptionsForOthersAreIgnoredAndSaid(t *testing.T) {
	c, err := Parse("x.json", []byte(`{"firecracker": {"cpu": null, "extraArgs": []}, "guest": {"enable": true},
		"vsock": {"cid": 3, "ssh": {"enable": true}}, "graphics": {"socket": "x", "crosvmPackage": 3},
		"devices": [{"bus": "pci", "path": "00:01.0", "crosvm": {"iommu": "off"}}], "hypervisor": "qemu"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"devices[0].crosvm", "firecracker", "graphics.crosvmPackage", "graphics.socket", "guest", "vsock.ssh"}
	if diff := cmp.Diff(want, c.Ignored()); diff != "" {
		t.Errorf("Ignored() differs (-want +got):\n%s", diff)
	}
	if got := new(Config).Ignored(); got != nil {
		t.Errorf("Ignored() of a Config made in Go = %q; want none", got)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("dir/myvm.json", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Config{}, c, sameConfig); diff != "" {
		t.Errorf("Load filled something in:\n%s", diff)
	}
	limit, window := c.RestartLimits()
	got := []any{
		c.MachineName(), c.VCPUs(), c.MemMiB(), c.HotpluggedMiB(), c.BalloonDeflates(), c.Accelerator(), c.UUID(),
		c.MachineType("amd64"), c.MachineType("arm64"), c.HasSerialConsole(), c.NamesProcess(), c.HostStoreDir(),
		c.HasStoreDisk(), c.StoreDiskFormat(), c.RestartPolicy(), limit, window, c.StopLimit(), c.ReadyLimit(),
		c.Graphics.Display(), c.Graphics.HostWindow(), c.Virtiofsd.FileHandles(), c.Virtiofsd.SocketGroup(),
	}
	want := []any{
		"myvm", 1, 512, 0, true, "auto", "35beb228-e803-efcd-3453-45dce3ee7cdd", // the UUID is microvm.nix's
		"microvm", "virt", true, true, "/nix/store",
		true, "erofs", "never", 10, time.Minute, time.Minute, 150 * time.Second,
		"gtk", "256M", "prefer", "kvm",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults differ (-want +got):\n%s", diff)
	}
	v, s, n, f := &Volume{}, &Share{}, &Interface{}, &ForwardPort{}
	got = []any{v.CreatesImage(), v.FileSystem(), v.Format(), s.Protocol(), s.Security(), s.CachePolicy(), s.PassesACLs(), n.MacvtapMode(), n.UserBackend(), f.Direction(), f.Protocol()}
	want = []any{true, "ext4", "raw", "9p", "none", "auto", true, "bridge", "auto", "host", "tcp"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults of devices differ (-want +got):\n%s", diff)
	}
}

// TestDefaultsThatFollowOtherKeys covers those that are no constants.
func TestDefaultsThatFollowOtherKeys(t *testing.T) {
	c, err := Parse("x.toml", []byte("cpu = \"max\"\nhotplugMem = 64\nmachineId = \"35BEB228-E803-EFCD-3453-45DCE3EE7CDD\"\n"+
		"shares = [{tag = \"s\", source = \"/nix/store\", mountPoint = \"/nix/.ro-store\"}]"))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Accelerator(), c.HotpluggedMiB(), c.UUID(), c.HasStoreDisk(), c.StoreShare().Tag, c.MachineType("amd64")}
	want := []any{"tcg", 64, "35beb228-e803-efcd-3453-45dce3ee7cdd", false, "s", "q35"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults differ (-want +got):\n%s", diff)
	}
}

// TestNullAsksForNone: in microvm.nix null turns these two off, and leaving
// them out does not.
func TestNullAsksForNone(t *testing.T) {
	c, err := Parse("x.json", []byte(`{"virtiofsd": {"group": null, "inodeFileHandles": null, "threadPoolSize": "`+"`nproc`"+`"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if g, h := c.Virtiofsd.SocketGroup(), c.Virtiofsd.FileHandles(); g != "" || h != "" {
		t.Errorf("SocketGroup() = %q, FileHandles() = %q; want none", g, h)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	c, err := Load(filepath.Join(".", filepath.Base(dir), "x.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{"": "", "/a": "/a", "a": filepath.Join(dir, "a"), "../a": filepath.Join(filepath.Dir(dir), "a")} {
		if got := c.Path(in); got != want {
			t.Errorf("Path(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestFilesThatAreNoDefinitions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"yaml.yaml": "", "latin1.toml": "# \xe9\nname = \"x\"", "big.toml": strings.Repeat("#\n", maxDefinition),
		"deep.json": strings.Repeat(`{"a":`, 20000), "deep.toml": "a=" + strings.Repeat("[", 100000),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("Load(%s) = %v; want an error that names it", name, err)
		}
	}
	for _, file := range []string{dir, filepath.Join(dir, "none.toml")} {
		if _, err := Load(file); err == nil {
			t.Errorf("Load(%s) = nil; want an error", file)
		}
	}
}
