package vm

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A source is the text of a definition, and where in it each key stands.
type source struct {
	file    string // as the user named it
	dir     string // what relative paths in it are relative to
	text    []byte
	sites   map[string]site // by key, as keyIn and keyAt write it
	ignored []string        // keys that were accepted and have no effect
}

// A site is where one key and its value stand in a source.
type site struct {
	key   span // zero for an element of a list
	value span // zero for a table or list that has no text of its own
	null  bool // the value is JSON's null
}

// A span is a range of bytes, from start up to end.
type span struct{ start, end int }

// keyIn returns the key of a table's member: "qemu.machine". A name that would
// not stand in a TOML file as it is gets quoted.
func keyIn(table, name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isBareKey(r) }) {
		name = strconv.Quote(name)
	}
	if table == "" {
		return name
	}
	return table + "." + name
}

// keyAt returns the key of a list's element: "volumes[1]".
func keyAt(list string, i int) string {
	return list + "[" + strconv.Itoa(i) + "]"
}

// parentKey returns the key of the table or list that key is in, or "".
func parentKey(key string) string {
	if strings.HasSuffix(key, "]") {
		return key[:strings.LastIndexByte(key, '[')]
	}
	// A quoted name may hold dots: it ends in a quote, and ends there only.
	if strings.HasSuffix(key, `"`) {
		for i := len(key) - 2; i >= 0; i-- {
			if key[i] == '"' && (i == 0 || key[i-1] == '.') {
				return key[:max(i-1, 0)]
			}
		}
		return ""
	}
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i]
	}
	return ""
}

// isBareKey reports whether TOML allows r in a key without quotes.
func isBareKey(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// baseName is the file's name without directory and extension.
func (s *source) baseName() string {
	base := filepath.Base(s.file)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// wrote reports whether the file gives key a value.
func (s *source) wrote(key string) bool {
	if s == nil {
		return false
	}
	at, ok := s.sites[key]
	return ok && !at.null
}

// mistake returns a mistake at key: at its value, or at its name if atName is
// set or there is no value to show. A key that the file lacks is shown at the
// table that should have it.
func (s *source) mistake(key string, atName bool, text, hint string) *Mistake {
	m := &Mistake{Key: key, Text: text, Hint: hint}
	if s == nil {
		return m
	}
	m.File = s.file
	for k := key; k != ""; k = parentKey(k) {
		at, ok := s.sites[k]
		if !ok {
			continue
		}
		where := at.value
		if where == (span{}) || k != key && at.key != (span{}) || atName {
			where = at.key
		}
		if where != (span{}) {
			s.point(m, where)
			break
		}
	}
	return m
}

// point sets the place and the excerpt of m.
func (s *source) point(m *Mistake, where span) {
	where.start = min(max(where.start, 0), len(s.text))
	start := bytes.LastIndexByte(s.text[:where.start], '\n') + 1
	line := s.text[start:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	m.Line = bytes.Count(s.text[:start], []byte("\n")) + 1
	m.Column = where.start - start + 1
	m.Excerpt = excerpt(m.Line, string(bytes.TrimSuffix(line, []byte("\r"))), m.Column-1, where.end-start)
}

// excerptWidth is how many bytes of a line are shown: a JSON file may well be
// one line.
const excerptWidth = 100

// excerpt shows a line of a file with a marker under the bytes from start up to
// end.
func excerpt(number int, line string, start, end int) string {
	start = min(start, len(line))
	end = min(max(end, start), len(line))
	if len(line) > excerptWidth {
		from := 0
		if end > excerptWidth {
			from = max(0, start-excerptWidth/3)
		}
		for from < start && !utf8.RuneStart(line[from]) {
			from++
		}
		line, start, end = line[from:], start-from, end-from
		if from > 0 {
			line, start, end = "..."+line, start+3, end+3
		}
		if len(line) > excerptWidth {
			line = strings.ToValidUTF8(line[:excerptWidth], "") + "..."
			start, end = min(start, excerptWidth), min(end, excerptWidth)
		}
	}
	line = strings.Map(printable, line)
	var mark strings.Builder
	for _, r := range line[:min(start, len(line))] {
		if r == '\t' {
			mark.WriteByte('\t')
		} else {
			mark.WriteByte(' ')
		}
	}
	mark.WriteByte('^')
	if n := utf8.RuneCountInString(line[min(start, len(line)):min(end, len(line))]); n > 1 {
		mark.WriteString(strings.Repeat("~", n-1))
	}
	return fmt.Sprintf("%6d | %s\n       | %s\n", number, line, mark.String())
}

// printable replaces what could steer a terminal.
func printable(r rune) rune {
	if r != '\t' && !strconv.IsPrint(r) {
		return '?'
	}
	return r
}
