package test_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// TestFaultsAreDocumented: every test that docs/faults.md names exists, and those of
// this package are what scripts/faults runs.
func TestFaultsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../scripts/faults")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`-run '([^']*)'`).FindSubmatch(script)
	if m == nil {
		t.Fatal("scripts/faults has no -run")
	}
	run := regexp.MustCompile(string(m[1]))
	seen := map[string]bool{}
	for _, name := range regexp.MustCompile(`Test[A-Z]\w+`).FindAll(doc, -1) {
		if seen[string(name)] {
			continue
		}
		seen[string(name)] = true
		out, err := exec.Command("grep", "-rlE", "--include=*_test.go", `^func `+string(name)+`\(`, "..").Output()
		if err != nil {
			t.Errorf("docs/faults.md names %s, which is no test", name)
			continue
		}
		// One runs in the guest of another.
		if here := bytes.HasPrefix(out, []byte("../test/")); here && string(name) != "TestClockJumps" && !run.Match(name) {
			t.Errorf("scripts/faults does not run %s", name)
		}
	}
	if len(seen) < 20 {
		t.Errorf("docs/faults.md names %d tests; want its tables", len(seen))
	}
}
