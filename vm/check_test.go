package vm

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keysOf are the keys of the mistakes in err.
func keysOf(err error) []string {
	var keys []string
	if de := (*DefinitionError)(nil); errors.As(err, &de) {
		for _, m := range de.Mistakes {
			keys = append(keys, m.Key)
		}
	}
	return keys
}

func TestZeroConfigIsValidAndBootsNothing(t *testing.T) {
	c := &Config{}
	if err := c.Check(); err != nil {
		t.Errorf("Check() = %v; want nil", err)
	}
	if diff := cmp.Diff([]string{"storePaths", "init"}, keysOf(c.CheckBootable())); diff != "" {
		t.Errorf("CheckBootable() complains of other keys (-want +got):\n%s", diff)
	}
	for _, c := range []Config{
		{Toplevel: "/nix/store/x"},
		{StorePaths: []string{"/nix/store/x"}, Init: Command{"/nix/store/x/init"}},
		{ClosureInfo: "closure", Init: Command{"/nix/store/x/init"}},
		{Shares: []Share{{Source: "/nix/store"}}, Init: Command{"/init"}},
	} {
		if err := c.CheckBootable(); err != nil {
			t.Errorf("CheckBootable() of %+v = %v; want nil", c, err)
		}
	}
}

// TestChecksOfAConfigMadeInGo covers values that no file can give.
func TestChecksOfAConfigMadeInGo(t *testing.T) {
	negative := Duration(-1)
	c := &Config{
		Name: "a b", VSock: VSock{CID: math.MaxUint32}, StopTimeout: &negative, ReadyTimeout: &negative,
		KernelParams: []string{strings.Repeat("x", 2048)},
	}
	err := c.CheckRules()
	want := []string{"name", "kernelParams", "vsock.cid", "stopTimeout", "readyTimeout"}
	if diff := cmp.Diff(want, keysOf(err)); diff != "" {
		t.Errorf("CheckRules() complains of other keys (-want +got):\n%s", diff)
	}
	if first, _, _ := strings.Cut(err.Error(), "\n"); first != "the definition has 5 mistakes" {
		t.Errorf("the error begins with %q", first)
	}
}

func TestKernelLine(t *testing.T) {
	for line, ok := range map[string]bool{
		"": true, "console=ttyS0 quiet": true, strings.Repeat("x", 2047): true,
		strings.Repeat("x", 2048): false, "a\nb": false, "a\x00b": false,
	} {
		if err := checkKernelLine(line); (err == nil) != ok {
			t.Errorf("checkKernelLine of %d bytes = %v; want ok: %v", len(line), err, ok)
		}
	}
}

// TestKeysThatAreNotCarriedOut: whatever is in the table is refused by Check
// alone, and said to be no fault of the definition.
func TestKeysThatAreNotCarriedOut(t *testing.T) {
	c, err := Load("testdata/definition/everything.toml")
	if err != nil {
		t.Fatal(err)
	}
	reported := make(map[string]bool)
	err = c.Check()
	if err == nil && len(notYet) == 0 {
		return
	}
	var de *DefinitionError
	if !errors.As(err, &de) {
		t.Fatalf("Check() = %v; want a *DefinitionError", err)
	}
	for _, m := range de.Mistakes {
		if !m.NotYet {
			t.Errorf("%v is not marked NotYet", m)
		}
		if m.Line == 0 {
			t.Errorf("%v has no line", m)
		}
		reported[anyIndex(m.Key)] = true
	}
	for _, n := range notYet {
		// The example forwards no port from the guest, nor over IPv6.
		if !reported[n.key] && !strings.HasPrefix(n.key, "forwardPorts") && n.key != "socket" {
			t.Errorf("Check() does not report %s", n.key)
		}
	}
}

// TestDefaultsOfMicrovmNixAreNoWishes: an export from Nix writes every default
// out, and must not fail for it.
func TestDefaultsOfMicrovmNixAreNoWishes(t *testing.T) {
	c, err := Load("testdata/definition/exported.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	want := []string{
		"alioth", "binScripts", "bootDisk", "cloud-hypervisor", "crosvm", "declaredRunner", "deploy", "firecracker",
		"graphics.crosvmPackage", "graphics.socket", "guest", "kvmtool", "optimize", "runner", "storeDisk",
		"stratovirt", "systemSymlink", "vfkit", "vmHostPackages", "vsock.ssh",
	}
	if diff := cmp.Diff(want, c.Ignored()); diff != "" {
		t.Errorf("Ignored() differs (-want +got):\n%s", diff)
	}
}

func TestManyMistakesAreCut(t *testing.T) {
	var b strings.Builder
	for i := range shownMistakes + 10 {
		fmt.Fprintf(&b, "wibble%d = 1\n", i)
	}
	_, err := Parse("x.toml", []byte(b.String()))
	if got, want := err.Error(), "and 10 more"; !strings.HasSuffix(got, want) {
		t.Errorf("the error ends in %q; want %q", got[len(got)-20:], want)
	}
	if n := len(keysOf(err)); n != shownMistakes+10 {
		t.Errorf("%d mistakes; want all of them", n)
	}
}

func TestParentKey(t *testing.T) {
	for key, want := range map[string]string{
		"": "", "mem": "", "qemu.machine": "qemu", "volumes[12]": "volumes", "volumes[1].size": "volumes[1]",
		`credentialFiles."a.b"`: "credentialFiles", `"a.b"`: "", `a."b[0]".c`: `a."b[0]"`, `a."b[0]"`: "a",
	} {
		if got := parentKey(key); got != want {
			t.Errorf("parentKey(%q) = %q; want %q", key, got, want)
		}
	}
}
