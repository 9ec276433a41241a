package qemu

import (
	"fmt"
	"strconv"
	"strings"
)

// A Prop is one key=value of an option.
type Prop struct{ Key, Value string }

// ParseProps reads "key=value,key=value", in which two commas stand for one
// comma of a value. A key without a value means "on", as in QEMU.
func ParseProps(s string) ([]Prop, error) {
	var props []Prop
	for s != "" {
		var field strings.Builder
		for s != "" {
			i := strings.IndexByte(s, ',')
			if i < 0 {
				i = len(s)
			}
			field.WriteString(s[:i])
			s = s[i:]
			if !strings.HasPrefix(s, ",,") {
				break
			}
			field.WriteByte(',')
			s = s[2:]
		}
		s = strings.TrimPrefix(s, ",")
		key, value, ok := strings.Cut(field.String(), "=")
		if !ok {
			value = "on"
		}
		if !wellFormedKey(key) {
			return nil, fmt.Errorf("bad property name %q", key)
		}
		props = append(props, Prop{key, value})
	}
	return props, nil
}

// wellFormedKey reports whether QEMU reads all of s as the name of a property.
func wellFormedKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !alnum(c) && !strings.ContainsRune("-_.", rune(c)) {
			return false
		}
	}
	return s != ""
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// An option is the value of a QEMU flag that is a list of key=value. Its first
// word is fixed text of ours; whatever comes from outside is a value, and there
// a comma is the only character that means something to QEMU's parser, which
// reads two of them as one.
type option struct{ b strings.Builder }

func newOption(first string) *option {
	o := new(option)
	o.b.WriteString(first)
	return o
}

// set adds key=value.
func (o *option) set(key, value string) *option {
	if o.b.Len() > 0 {
		o.b.WriteByte(',')
	}
	o.b.WriteString(key)
	o.b.WriteByte('=')
	o.b.WriteString(strings.ReplaceAll(value, ",", ",,"))
	return o
}

// maybe adds key=value unless value is empty.
func (o *option) maybe(key, value string) *option {
	if value == "" {
		return o
	}
	return o.set(key, value)
}

func (o *option) num(key string, n int) *option { return o.set(key, strconv.Itoa(n)) }

func (o *option) flag(key string, on bool) *option {
	if on {
		return o.set(key, "on")
	}
	return o.set(key, "off")
}

// props adds each of ps. A malformed key, which Check reports, is left out: it
// could hold a comma.
func (o *option) props(ps []Prop) *option {
	for _, p := range ps {
		if wellFormedKey(p.Key) {
			o.set(p.Key, p.Value)
		}
	}
	return o
}

func (o *option) String() string { return o.b.String() }
