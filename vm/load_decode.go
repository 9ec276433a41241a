package vm

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// definitionDecoder carries generic values over into a Config. It goes on after
// a mistake, so that one reading finds all of them.
type definitionDecoder struct {
	src      *source
	mistakes []*Mistake
	suspect  map[string]bool // keys of which a mistake has been reported
}

func (d *definitionDecoder) mistake(key string, atName bool, text, hint string) {
	d.suspect[key] = true
	d.mistakes = append(d.mistakes, d.src.mistake(key, atName, text, hint))
}

// doubted reports whether a mistake has been reported of key, or of what it is
// in.
func (d *definitionDecoder) doubted(key string) bool {
	for ; key != ""; key = parentKey(key) {
		if d.suspect[key] {
			return true
		}
	}
	return false
}

// table decodes a table into the struct that dst points to.
func (d *definitionDecoder) table(members map[string]any, key string, dst any) {
	v := reflect.ValueOf(dst).Elem()
	fields := definitionFields(v.Type())
	for _, name := range slices.Sorted(maps.Keys(members)) {
		member := keyIn(key, name)
		i, known := fields[name]
		switch {
		case known:
			d.value(members[name], member, v.Field(i))
		case isIgnored(member):
			d.src.ignored = append(d.src.ignored, member)
		default:
			text, hint, meant := unknownKey(key, name, slices.Sorted(maps.Keys(fields)))
			d.mistake(member, true, text, hint)
			if meant != "" {
				d.suspect[keyIn(key, meant)] = true // not missing, only misspelt
			}
		}
	}
}

// value decodes one value. It leaves dst alone when the value is null or wrong.
func (d *definitionDecoder) value(v any, key string, dst reflect.Value) {
	if v == nil {
		// A string that has a default can be asked to be empty with null.
		if dst.Kind() == reflect.Pointer && dst.Type().Elem().Kind() == reflect.String {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		return
	}
	if dst.Kind() == reflect.Pointer {
		p, before := reflect.New(dst.Type().Elem()), len(d.mistakes)
		if d.value(v, key, p.Elem()); len(d.mistakes) == before {
			dst.Set(p)
		}
		return
	}
	if dv, ok := reflect.TypeAssert[definitionValue](dst.Addr()); ok {
		if err := dv.setDefinition(v); err != nil {
			d.mistake(key, false, err.Error(), "")
		}
		return
	}
	switch dst.Kind() {
	case reflect.String:
		if s, ok := scalar[string](d, v, key, "a string"); ok {
			dst.SetString(s)
		}
	case reflect.Bool:
		if b, ok := scalar[bool](d, v, key, "true or false"); ok {
			dst.SetBool(b)
		}
	case reflect.Int:
		if i, ok := scalar[int64](d, v, key, "a whole number"); ok {
			dst.SetInt(i)
		}
	case reflect.Struct:
		if t, ok := scalar[map[string]any](d, v, key, "a table"); ok {
			d.table(t, key, dst.Addr().Interface())
		}
	case reflect.Slice:
		if l, ok := scalar[[]any](d, v, key, "a list"); ok {
			d.list(l, key, dst)
		}
	case reflect.Map:
		if t, ok := scalar[map[string]any](d, v, key, "a table"); ok {
			d.strings(t, key, dst)
		}
	default:
		panic("vm: a definition cannot hold a " + dst.Type().String())
	}
}

func (d *definitionDecoder) list(elements []any, key string, dst reflect.Value) {
	list := reflect.MakeSlice(dst.Type(), len(elements), len(elements))
	for i, v := range elements {
		at := keyAt(key, i)
		if v == nil {
			d.mistake(at, false, "want an element, not null", "")
			continue
		}
		d.value(v, at, list.Index(i))
	}
	dst.Set(list)
}

func (d *definitionDecoder) strings(members map[string]any, key string, dst reflect.Value) {
	m := make(map[string]string, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if s, ok := scalar[string](d, members[name], keyIn(key, name), "a string"); ok {
			m[name] = s
		}
	}
	dst.Set(reflect.ValueOf(m))
}

// scalar returns v as a T, or reports that it is none.
func scalar[T any](d *definitionDecoder, v any, key, want string) (T, bool) {
	t, ok := v.(T)
	if !ok {
		hint := ""
		if s, isString := v.(string); isString && (want == "a whole number" || want == "true or false") {
			hint = "write " + s + " without quotes"
			if !isPlain(s) {
				hint = ""
			}
		}
		d.mistake(key, false, fmt.Sprintf("want %s, not %s", want, kindOf(v)), hint)
	}
	return t, ok
}

// isPlain reports whether s is a number or a boolean as a definition writes it.
func isPlain(s string) bool {
	return s == "true" || s == "false" || s != "" && len(s) < 16 && strings.Trim(s, "0123456789") == ""
}

// definitionFields returns the fields of a struct of the definition by key.
func definitionFields(t reflect.Type) map[string]int {
	fields := make(map[string]int)
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[name] = i
		}
	}
	return fields
}

// definitionKeys returns every key of a struct of the definition, sorted, with
// "[]" for any element of a list: "volumes[].size".
func definitionKeys(t reflect.Type, key string) []string {
	var keys []string
	for name, i := range definitionFields(t) {
		member, f := keyIn(key, name), t.Field(i).Type
		switch {
		case f.Kind() == reflect.Slice && f.Elem().Kind() == reflect.Struct:
			keys = append(keys, definitionKeys(f.Elem(), member+"[]")...)
		case f.Kind() == reflect.Struct:
			keys = append(keys, definitionKeys(f, member)...)
		default:
			keys = append(keys, member)
		}
	}
	slices.Sort(keys)
	return keys
}
