package vm

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzParseTOML(f *testing.F) { fuzzParse(f, ".toml") }
func FuzzParseJSON(f *testing.F) { fuzzParse(f, ".json") }

// fuzzParse holds that no text makes Parse panic or point outside of the text,
// that a text gives the same answer twice, and that what is accepted has one
// meaning: written as JSON it reads as the same Config.
func fuzzParse(f *testing.F, ext string) {
	files, _ := filepath.Glob("testdata/definition/*" + ext)
	more, _ := filepath.Glob("testdata/definition/conformance/*" + ext)
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	rules, _ := filepath.Glob("testdata/definition/rules/*.txt")
	for _, file := range rules {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for c := range strings.SplitSeq(string(text), "\n== ") {
			_, body, _ := strings.Cut(c, "\n")
			body, name, _ := strings.Cut(body, "\n-- ")
			if strings.HasPrefix(name, "bare"+ext) {
				f.Add([]byte(body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz"+ext, text)
		if err == nil {
			err = c.Check()
			written, werr := json.Marshal(c)
			if werr != nil {
				t.Fatal(werr)
			}
			again, werr := Parse("fuzz.json", written)
			if werr != nil {
				t.Fatalf("what was accepted cannot be written as JSON: %v", werr)
			}
			if diff := cmp.Diff(c, again, sameConfig); diff != "" {
				t.Fatalf("the JSON form means something else (-%s +json):\n%s", ext, diff)
			}
			_, _, _ = c.Ignored(), c.UUID(), c.CheckBootable()
		}
		if err == nil {
			return
		}
		var de *DefinitionError
		if !errors.As(err, &de) || len(de.Mistakes) == 0 {
			t.Fatalf("%v is no DefinitionError", err)
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, m := range de.Mistakes {
			if m.Line > lines || m.Text == "" || strings.Contains(m.Text, "\n") {
				t.Errorf("bad mistake %+v in a text of %d lines", m, lines)
			}
		}
		c, err2 := Parse("fuzz"+ext, text)
		if err2 == nil {
			err2 = c.Check()
		}
		if err2 == nil || err2.Error() != err.Error() {
			t.Errorf("two readings differ:\n%v\n%v", err, err2)
		}
	})
}
