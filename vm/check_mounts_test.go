package vm

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlanThatThisHostCannotCarryOut is right where there is a virtiofsd, so Check
// passes it; without one the share goes by 9p.
func TestPlanThatThisHostCannotCarryOut(t *testing.T) {
	c, err := Parse("upper.toml", []byte(`init = "/nix/store/x/init"
storePaths = ["/nix/store/x"]
writableStoreOverlay = "/rw"
[[shares]]
tag = "rw"
proto = "auto"
source = "/srv/rw"
mountPoint = "/rw"
`))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Errorf("Check() = %v; want nil", err)
	}
	if _, _, err := Plan(c, Image{Kernel: "/k", Init: c.Init}, Host{Arch: "amd64", Virtiofsd: anyVirtiofs.Virtiofsd}); err != nil {
		t.Errorf("Plan() with virtiofs = %v; want nil", err)
	}
	_, _, err = Plan(c, Image{Kernel: "/k", Init: c.Init}, Host{Arch: "amd64"})
	if diff := cmp.Diff([]string{"writableStoreOverlay"}, keysOf(err)); diff != "" {
		t.Errorf("Plan() without complains of other keys (-want +got):\n%s", diff)
	}
	var de *DefinitionError
	if !errors.As(err, &de) || de.Mistakes[0].Line != 3 || !strings.Contains(de.Mistakes[0].Hint, "virtiofs") {
		t.Errorf("Plan() = %#v; want line 3 and a hint", err)
	}
}
