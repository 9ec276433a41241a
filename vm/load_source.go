package vm

import (
	"path/filepath"
	"strings"
)

// A source is the text of a definition, and where in it each key stands.
type source struct {
	file  string
	text  []byte
	sites map[string]site // by key, as keyIn and keyAt write it
}

// A site is where one key and its value stand in a source.
type site struct {
	key   span // zero for an element of a list
	value span // zero if the value is a table or a list
}

// A span is a range of bytes, from start up to end.
type span struct{ start, end int }

// baseName is the file's name without directory and extension.
func (s *source) baseName() string {
	base := filepath.Base(s.file)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
