package vm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"
)

// maxDefinition bounds a definition's file in bytes. Real ones have a few KiB;
// the bound keeps a wrong file name (a disk image) from being read whole.
const maxDefinition = 1 << 20

// Load reads the definition in a file whose name ends in .toml or .json.
//
// It refuses unknown keys, values of the wrong type and what a file cannot mean
// (a key given twice), and then returns a [*DefinitionError] that holds these
// and the rules of [Config.Check] that the file breaks as well, so that
// everything wrong is seen at once. A file without such mistakes is returned
// without having been checked.
func Load(path string) (*Config, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	// Before it is opened: that would wait for a pipe's writer.
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, &FindError{path, "is not a file", "give the name of a definition or its file"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDefinition+1))
	if err != nil {
		return nil, err
	}
	return parseDefinition(path, dir, text)
}

// Parse is [Load] for a text that was read already. The name of the file says
// the format, appears in errors and is the machine's name if the text has none.
func Parse(file string, text []byte) (*Config, error) {
	return parseDefinition(file, filepath.Dir(file), text)
}

func parseDefinition(file, dir string, text []byte) (*Config, error) {
	s := &source{file: file, dir: dir, text: text, sites: make(map[string]site)}
	if len(text) > maxDefinition {
		return nil, &FindError{file, fmt.Sprintf("has more than %d bytes, which no definition has", maxDefinition), "give the name of a definition or its file"}
	}
	var root map[string]any
	var m *Mistake
	switch ext := filepath.Ext(file); {
	case ext != ".toml" && ext != ".json":
		return nil, &FindError{file, "is no definition: the name of one ends in .toml or .json", "rename it, if it is one"}
	case !utf8.Valid(text):
		m = s.syntax(invalidUTF8(text), "the file is not UTF-8", "")
	case ext == ".toml":
		root, m = readTOML(s)
	default:
		root, m = readJSON(s)
	}
	if m != nil {
		return nil, definitionError([]*Mistake{m})
	}

	c := &Config{src: s}
	d := &definitionDecoder{src: s, suspect: make(map[string]bool)}
	d.table(root, "", c)
	if len(d.mistakes) == 0 {
		return c, nil
	}
	// A rule about a key that could not be read would only repeat it.
	for _, m := range c.mistakes() {
		if !d.doubted(m.Key) {
			d.mistakes = append(d.mistakes, m)
		}
	}
	return nil, definitionError(d.mistakes)
}

// syntax returns a mistake at a byte of the text that has no key.
func (s *source) syntax(offset int, text, hint string) *Mistake {
	m := &Mistake{File: s.file, Text: text, Hint: hint}
	s.point(m, span{offset, offset + 1})
	return m
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8.
func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(text)
}

// A FindError says that no definition has a name.
type FindError struct {
	Name string
	Text string // why, as the rest of a sentence
	Hint string // one imperative sentence
}

func (e *FindError) Error() string { return strconv.Quote(e.Name) + " " + e.Text }

// CheckName returns a [*FindError] if name cannot be a machine's.
func CheckName(name string) error {
	if why := nameTrouble(name); why != "" {
		return &FindError{name, "is neither a machine's name nor a file: " + why, "give a name, or a file with its extension"}
	}
	return nil
}

// Find returns the file with the definition of a machine. An arg with a slash
// or a dot in it is the file itself, whether or not it exists; any other is a
// machine's name, and the first of the directories that has NAME.toml or
// NAME.json decides. The error is a [*FindError] if there is none.
func Find(arg string, dirs []string) (string, error) {
	for _, r := range arg {
		if r == '/' || r == '.' {
			return arg, nil
		}
	}
	if err := CheckName(arg); err != nil {
		return "", err
	}
	var looked string
	for _, dir := range dirs {
		var found []string
		for _, ext := range []string{".toml", ".json"} {
			file := filepath.Join(dir, arg+ext)
			switch _, err := os.Stat(file); {
			case err == nil:
				found = append(found, file)
			case !os.IsNotExist(err):
				return "", err
			}
		}
		switch len(found) {
		case 1:
			return found[0], nil
		case 2:
			return "", &FindError{arg, "is defined twice, by " + found[0] + " and " + found[1], "name the file instead, or remove one"}
		}
		if looked != "" {
			looked += ", "
		}
		looked += filepath.Join(dir, arg)
	}
	return "", &FindError{arg, "has no definition: there is no " + looked + " with .toml or .json",
		"write " + arg + ".toml, or give the file with a slash or its extension"}
}
