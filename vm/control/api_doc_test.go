package control

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTheManualHasAllOfTheAPI compares docs/api.md with what the server serves.
func TestTheManualHasAllOfTheAPI(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	all := func(pattern, text string) []string {
		var found []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	manual := read("../../docs/api.md")
	served := all(`HandleFunc\("([A-Z]+ [a-z0-9/]+)"`, read("server.go"))
	if diff := cmp.Diff(served, all("(?m)^\\| `([A-Z]+ [a-z0-9/]+)", manual)); diff != "" {
		t.Errorf("docs/api.md documents other requests (-server +docs):\n%s", diff)
	}
	u := Usage{At: time.Unix(2, 0), QEMU: &Process{}, Balloon: 1, Plugged: new(int64), Disks: []Disk{{}}, Networks: []Network{{}}}
	given := all(`# TYPE (\S+)`, string(Metrics(Status{ReadyAfter: 1, State: Stopping, Since: time.Unix(1, 0)}, u)))
	if diff := cmp.Diff(given, all("`(mvm_[a-z_]+)`", manual)); diff != "" {
		t.Errorf("docs/api.md documents other metrics (-server +docs):\n%s", diff)
	}
}
