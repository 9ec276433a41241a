package qemu

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProps(t *testing.T) {
	tests := []struct {
		in   string
		want []Prop
		err  string
	}{
		{"", nil, ""},
		{"a=b", []Prop{{"a", "b"}}, ""},
		{"a=b,c=d=e", []Prop{{"a", "b"}, {"c", "d=e"}}, ""},
		{"a=b,,c,d=", []Prop{{"a", "b,c"}, {"d", ""}}, ""},
		{"a=,,,,", []Prop{{"a", ",,"}}, ""},
		{"a=x,,,b=y", []Prop{{"a", "x,"}, {"b", "y"}}, ""},
		{"multifunction", []Prop{{"multifunction", "on"}}, ""},
		{"=b", nil, `bad property name ""`},
		{"a b=c", nil, `bad property name "a b"`},
	}
	for _, tt := range tests {
		got, err := ParseProps(tt.in)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseProps(%q) (-want +got):\n%s", tt.in, diff)
		}
		if msg := fmt.Sprint(err); err != nil && msg != tt.err || err == nil && tt.err != "" {
			t.Errorf("ParseProps(%q) error = %v; want %q", tt.in, err, tt.err)
		}
	}
}

// qemuParse reads an option as QEMU's get_opt_name_value and keyval_parse do:
// it is written from their description (QEMU 7.2, util/qemu-option.c), not
// from the code under test. The first word's key is "".
func qemuParse(s string) []Prop {
	var props []Prop
	for first := true; len(s) > 0; first = false {
		key := ""
		if i := strings.IndexAny(s, "=,"); i >= 0 && s[i] == '=' {
			key, s = s[:i], s[i+1:]
		} else if !first {
			i = strings.IndexByte(s+",", ',')
			props = append(props, Prop{s[:i], "on"})
			s = strings.TrimPrefix(s[i:], ",")
			continue
		}
		var value []byte
		for len(s) > 0 {
			if s[0] == ',' {
				if len(s) == 1 || s[1] != ',' {
					break
				}
				s = s[1:]
			}
			value = append(value, s[0])
			s = s[1:]
		}
		s = strings.TrimPrefix(s, ",")
		props = append(props, Prop{key, string(value)})
	}
	return props
}

// mark is a string that no option of ours holds by itself.
const mark = "@MARK@"

// fill returns a copy of the sample's machine in which every string that is
// free text has been replaced by s.
func fill(m Machine, s string) Machine {
	fillValue(reflect.ValueOf(&m).Elem(), s)
	return m
}

func fillValue(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n := reflect.New(v.Type().Elem())
			n.Elem().Set(v.Elem())
			fillValue(n.Elem(), s)
			v.Set(n)
		}
	case reflect.Slice:
		n := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(n, v)
		for i := range n.Len() {
			fillValue(n.Index(i), s)
		}
		if v.Len() > 0 {
			v.Set(n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && fillable(v.Type().Field(i)) {
				fillValue(f, s)
			}
		}
	case reflect.Map:
		n := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			n.SetMapIndex(k, reflect.ValueOf(s))
		}
		if v.Len() > 0 {
			v.Set(n)
		}
	case reflect.String:
		if v.Len() > 0 {
			v.SetString(s)
		}
	}
}

// fillable leaves out what is a word of a fixed set, what is raw by intent, and
// what is a name among ourselves.
func fillable(f reflect.StructField) bool {
	switch f.Name {
	case "Type", "Accel", "CPU", "ExtraArgs", "Key", "Why", "File", "KernelFile", "InitrdFile", "MonitorFile", "Files", "VhostFiles", "SocketFile", "Backend":
		return false
	}
	return f.Type.String() != "netip.Addr"
}

// plain are the flags whose value is not a list of key=value.
var plain = map[string]bool{"-kernel": true, "-initrd": true, "-append": true, "-cpu": true, "-smp": true, "-serial": true, "-display": true}

// sameMeaning checks that putting s into every string of m changes nothing in
// what QEMU reads but these strings.
func sameMeaning(t *testing.T, m Machine, s string) {
	t.Helper()
	marked, filled := fill(m, mark), fill(m, s)
	want, got := marked.Args(), filled.Args()
	if len(want) != len(got) {
		t.Fatalf("%q makes %d arguments of %d", s, len(got), len(want))
	}
	for i := range want {
		if i == 0 || !strings.HasPrefix(want[i-1], "-") || plain[want[i-1]] {
			if w := strings.ReplaceAll(want[i], mark, s); got[i] != w {
				t.Errorf("%q makes %q; want %q", s, got[i], w)
			}
			continue
		}
		wp := qemuParse(want[i])
		for j := range wp {
			wp[j].Value = strings.ReplaceAll(wp[j].Value, mark, s)
		}
		if diff := cmp.Diff(wp, qemuParse(got[i])); diff != "" {
			t.Errorf("%q changes what %s means: %q\n(-want +got):\n%s", s, want[i-1], got[i], diff)
		}
	}
}

var nasty = []string{
	",", ",,", "a,b", "a,,b", "a,b=c", ",readonly=off", "=", "a=b", " ", "a b", "'", `"`, `\`, "\n", "a\nb", "-", "-drive", "--",
	"help", "?", "on", "ü", "日本語,x", "\xff\xfe", strings.Repeat("x,", 150), "{\"driver\":\"file\"}", "json:{}", "%n%s", "$(id)", "`id`", ";", "|",
}

func TestNoStringChangesWhatTheArgumentsMean(t *testing.T) {
	for _, sm := range samples {
		for _, s := range nasty {
			sameMeaning(t, sm.machine(), s)
		}
	}
}

func FuzzNoStringChangesWhatTheArgumentsMean(f *testing.F) {
	for i := range samples {
		f.Add(uint8(i), nasty[i%len(nasty)])
	}
	f.Fuzz(func(t *testing.T, i uint8, s string) {
		if s == "" || strings.Contains(s, mark) {
			return // empty means "not set"
		}
		sameMeaning(t, samples[int(i)%len(samples)].machine(), s)
	})
}
