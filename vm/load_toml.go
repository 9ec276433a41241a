package vm

import (
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// readTOML reads the source as TOML: the values with go-toml's decoder, which
// also finds keys given twice, and the places with its parser, because a
// decoded value has lost them.
func readTOML(s *source) (map[string]any, *Mistake) {
	root := make(map[string]any)
	if err := toml.Unmarshal(s.text, &root); err != nil {
		return nil, tomlMistake(s, err)
	}
	p := &tomlPlaces{src: s, lists: make(map[string]int)}
	p.parser.Reset(s.text)
	for p.parser.NextExpression() {
		p.expression(p.parser.Expression())
	}
	if err := p.parser.Error(); err != nil {
		return nil, tomlMistake(s, err)
	}
	return root, nil
}

// tomlMistake turns an error of go-toml into a mistake.
func tomlMistake(s *source, err error) *Mistake {
	m := &Mistake{File: s.file, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	if de := (*toml.DecodeError)(nil); errors.As(err, &de) {
		row, column := de.Position()
		offset := 0
		for line := range strings.Lines(string(s.text)) {
			if row--; row == 0 {
				break
			}
			offset += len(line)
		}
		s.point(m, span{offset + column - 1, offset + column})
		m.Key = keyOf(de.Key())
	}
	return m
}

func keyOf(parts []string) string {
	key := ""
	for _, part := range parts {
		key = keyIn(key, part)
	}
	return key
}

// tomlPlaces notes where each key of a document stands.
type tomlPlaces struct {
	src    *source
	parser unstable.Parser
	table  string         // the key of the table that the last header opened
	lists  map[string]int // how many [[tables]] a key has had
}

func (p *tomlPlaces) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.KeyValue:
		p.keyValue(p.table, n)
	case unstable.Table:
		p.table = p.header(n)
	case unstable.ArrayTable:
		list := p.header(n)
		p.table = keyAt(list, p.lists[list])
		p.lists[list]++
		p.note(p.table, site{key: p.src.sites[list].key})
	}
}

// header notes the keys of a table's header and returns the last. A key of
// [[tables]] that is passed through means its newest one.
func (p *tomlPlaces) header(n *unstable.Node) string {
	key := ""
	it := n.Key()
	for it.Next() {
		if i := p.lists[key]; i > 0 {
			key = keyAt(key, i-1)
		}
		key = keyIn(key, string(it.Node().Data))
		at := site{key: p.span(it.Node())}
		if n.Kind == unstable.ArrayTable && it.IsLast() {
			p.src.sites[key] = at // each [[table]] is the newest place
		}
		p.note(key, at)
	}
	return key
}

func (p *tomlPlaces) keyValue(table string, n *unstable.Node) {
	key := table
	it := n.Key()
	for it.Next() {
		key = keyIn(key, string(it.Node().Data))
		p.note(key, site{key: p.span(it.Node())})
	}
	p.value(key, n.Value())
}

// value notes the place of the value of key, and of what is in it.
func (p *tomlPlaces) value(key string, n *unstable.Node) {
	if n.Raw.Length > 0 {
		at := p.src.sites[key]
		at.value = p.span(n)
		p.src.sites[key] = at
	}
	switch n.Kind {
	case unstable.InlineTable:
		it := n.Children()
		for it.Next() {
			p.keyValue(key, it.Node())
		}
	case unstable.Array:
		i := 0
		it := n.Children()
		for it.Next() {
			p.value(keyAt(key, i), it.Node())
			i++
		}
	}
}

// note keeps the first place of a key.
func (p *tomlPlaces) note(key string, at site) {
	if _, ok := p.src.sites[key]; !ok {
		p.src.sites[key] = at
	}
}

func (p *tomlPlaces) span(n *unstable.Node) span {
	start := int(n.Raw.Offset)
	return span{start, start + int(n.Raw.Length)}
}
