package vm

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allKeys are the keys of a definition.
func allKeys() []string { return definitionKeys(reflect.TypeFor[Config](), "") }

// TestEveryKeyIsDocumented compares the definition with the headings of its
// manual: "#### `key`", several on one line if they belong together.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/definition.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, line := range regexp.MustCompile("(?m)^#### .*$").FindAllString(string(text), -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			documented = append(documented, m[1])
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(allKeys(), documented); diff != "" {
		t.Errorf("docs/definition.md documents other keys than Config has (-Config +docs):\n%s", diff)
	}
	for key := range ignoredKeys {
		if !regexp.MustCompile("`" + regexp.QuoteMeta(key) + "`").Match(text) {
			t.Errorf("docs/definition.md does not say that %s is ignored", key)
		}
	}
	for _, n := range notYet {
		if !slices.ContainsFunc(allKeys(), func(key string) bool { return key == n.key || key[:min(len(n.key), len(key))] == n.key }) {
			t.Errorf("notYet has %s, which is no key", n.key)
		}
	}
}

// TestManualsExampleIsRight reads the first definition of the manual.
func TestManualsExampleIsRight(t *testing.T) {
	text, err := os.ReadFile("../docs/definition.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```toml\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("docs/definition.md has no example")
	}
	c, err := Parse("web.toml", []byte(example))
	if err == nil {
		err = c.Check()
	}
	if err == nil {
		err = c.CheckBootable()
	}
	if err != nil {
		t.Error(err)
	}
}

// TestManualsMistakesAreReal reads what the manual shows of a wrong definition.
func TestManualsMistakesAreReal(t *testing.T) {
	text, err := os.ReadFile("../docs/definition.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(text), "mvm: error: web.toml has")
	shown, _, _ = strings.Cut(shown, "```")
	_, err = Parse("web.toml", []byte("\n\nmemroy = 1024\n\n\n\n[[volumes]]\nimage = \"data.img\"\nsize = 0\n"))
	if diff := cmp.Diff("web.toml has"+shown, definitionMessage(err)); diff != "" {
		t.Errorf("docs/definition.md shows another message (-docs +mvm):\n%s", diff)
	}
}
