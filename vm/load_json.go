package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// readJSON reads the source as JSON. It differs from encoding/json in what it
// refuses: a key given twice in one object, which encoding/json takes the last
// of, and anything but one object.
func readJSON(s *source) (map[string]any, *Mistake) {
	// The token reader's errors have no reliable place; this one's have.
	var whole json.RawMessage
	if err := json.Unmarshal(s.text, &whole); err != nil {
		offset := len(s.text)
		if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
			offset = int(se.Offset) - 1
		}
		return nil, s.syntax(offset, err.Error(), "")
	}
	j := &jsonReader{src: s, tokens: json.NewDecoder(bytes.NewReader(s.text))}
	j.tokens.UseNumber()
	v := j.value("")
	if j.mistake != nil {
		return nil, j.mistake
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, s.syntax(0, "want one JSON object, not "+kindOf(v), "")
	}
	return root, nil
}

// jsonReader reads values and notes where each key stands.
type jsonReader struct {
	src     *source
	tokens  *json.Decoder
	mistake *Mistake // the first; reading goes on only to keep the code simple
}

// next returns the next token and where it stands.
func (j *jsonReader) next() (json.Token, span) {
	start := int(j.tokens.InputOffset())
	token, err := j.tokens.Token()
	if err != nil && j.mistake == nil {
		j.mistake = j.src.syntax(start, err.Error(), "")
	}
	for start < len(j.src.text) && bytes.IndexByte([]byte(" \t\r\n,:"), j.src.text[start]) >= 0 {
		start++
	}
	return token, span{start, int(j.tokens.InputOffset())}
}

// value reads the value of key.
func (j *jsonReader) value(key string) any {
	token, where := j.next()
	at := j.src.sites[key]
	at.value, at.null = where, token == nil
	if key != "" {
		j.src.sites[key] = at
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return j.object(key)
		}
		return j.array(key)
	case json.Number:
		if i, err := strconv.ParseInt(token.String(), 10, 64); err == nil {
			return i
		}
		f, _ := token.Float64() // out of range is as wrong as a fraction
		return f
	}
	return token
}

func (j *jsonReader) object(key string) map[string]any {
	table := make(map[string]any)
	for j.mistake == nil && j.tokens.More() {
		token, where := j.next()
		name, _ := token.(string)
		member := keyIn(key, name)
		if _, twice := table[name]; twice && j.mistake == nil {
			m := &Mistake{File: j.src.file, Key: member, Text: "the key is given twice"}
			j.src.point(m, where)
			first := &Mistake{}
			j.src.point(first, j.src.sites[member].key)
			m.Hint = fmt.Sprintf("remove it here or in line %d", first.Line)
			j.mistake = m
		}
		j.src.sites[member] = site{key: where}
		table[name] = j.value(member)
	}
	j.next() // the closing brace
	return table
}

func (j *jsonReader) array(key string) []any {
	list := []any{}
	for j.mistake == nil && j.tokens.More() {
		list = append(list, j.value(keyAt(key, len(list))))
	}
	j.next() // the closing bracket
	return list
}
