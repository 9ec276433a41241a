package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mvmrun/mvm/qemu"
	"github.com/mvmrun/mvm/qemu/guestview"
	"github.com/mvmrun/mvm/vm/state"
)

// injectable are definitions that between them use every key with free text.
var injectable = []string{`{
	"toplevel": "/nix/store/00000000000000000000000000000000-system", "kernel": "k", "initrdPath": "i",
	"init": ["/nix/store/00000000000000000000000000000000-system/init", "argument"], "kernelParams": ["quiet"],
	"cpu": "max", "machineId": "35beb228-e803-efcd-3453-45dce3ee7cdd", "user": "nobody", "socket": "qmp", "preStart": "true",
	"extraArgsScript": "true", "storeDir": "/nix/store", "writableStoreOverlay": "/nix/.rw-store",
	"volumes": [
		{"image": "a.img", "mountPoint": "/a", "label": "alpha", "size": 64},
		{"image": "b.img", "mountPoint": "/b", "serial": "B2", "size": 64, "mkfsExtraArgs": ["-q"]}
	],
	"shares": [
		{"tag": "nine", "source": "/srv/nine", "mountPoint": "/nine", "proto": "9p"},
		{"tag": "fs", "source": "/srv/fs", "mountPoint": "/fs", "proto": "virtiofs", "extraArgs": ["-x"]}
	],
	"interfaces": [
		{"type": "user", "id": "net", "mac": "02:00:00:00:00:01", "user": {"backend": "slirp"}},
		{"type": "tap", "id": "vm-a", "bridge": "br0"},
		{"type": "macvtap", "id": "vm-b", "macvtap": {"link": "eth0", "mode": "bridge"}}
	],
	"forwardPorts": [{"host": {"address": "127.0.0.1", "port": 2222}, "guest": {"address": "10.0.2.15", "port": 22}}],
	"qemu": {"package": "/opt/qemu"}, "virtiofsd": {"package": "/opt/virtiofsd", "group": "kvm", "extraArgs": ["-y"]}
}`, `{
	"toplevel": "/nix/store/00000000000000000000000000000000-system", "name": "other", "machineId": "35beb228-e803-efcd-3453-45dce3ee7cdd",
	"credentialFiles": {"token": "secrets/token"}, "volumes": [{"image": "/srv/v.img", "mountPoint": "/v", "size": 64, "direct": true}],
	"devices": [{"bus": "pci", "path": "0000:01:00.0", "qemu": {"id": "gpu", "bus": "rp0"}}],
	"qemu": {"machine": "q35", "machineOpts": {"acpi": "on"}, "pcieRootPorts": [{"id": "rp0", "bus": "pcie.0", "slot": "1", "addr": "0x5"}]}
}`}

// rawKeys are in QEMU's own words by intent: whoever writes them writes options.
var rawKeys = []string{"qemu.extraArgs", "qemu.deviceExtraArgs", "cpu"}

// marks are pairs of values, one of which a key takes. Where none is, the key is
// of a closed set of words.
var marks = [][2]string{
	{"mark1", "mark2"}, {"/mark1", "/mark2"},
	{"/nix/store/00000000000000000000000000000000-mark1", "/nix/store/00000000000000000000000000000000-mark2"},
	{"02:00:00:00:00:0a", "02:00:00:00:00:0b"}, {"127.0.0.7", "127.0.0.8"}, {"0000:07:00.0", "0000:08:00.0"},
	{"35beb228-e803-efcd-3453-45dce3ee7cda", "35beb228-e803-efcd-3453-45dce3ee7cdb"},
}

// A place is one string of a definition.
type place struct {
	base int
	key  string
	// set puts a value there.
	set func(c *Config, s string)
	// marked are the arguments with each of the marks, nil where it is refused.
	marked [][2][]string
}

// places finds every string of the definitions, by reflection, so that no key is
// forgotten.
func places(t testing.TB) (list []place) {
	t.Helper()
	for base := range injectable {
		var walk func(v reflect.Value, key string, at func(*Config) reflect.Value)
		walk = func(v reflect.Value, key string, at func(*Config) reflect.Value) {
			switch v.Kind() {
			case reflect.Pointer:
				if !v.IsNil() && v.CanInterface() {
					walk(v.Elem(), key, func(c *Config) reflect.Value { return at(c).Elem() })
				}
			case reflect.Struct:
				for i := range v.NumField() {
					f := v.Type().Field(i)
					if !f.IsExported() {
						continue
					}
					name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
					walk(v.Field(i), key+"."+name, func(c *Config) reflect.Value { return at(c).Field(i) })
				}
			case reflect.Slice:
				for i := range v.Len() {
					walk(v.Index(i), key, func(c *Config) reflect.Value { return at(c).Index(i) })
				}
			case reflect.Map:
				for _, k := range v.MapKeys() {
					value := v.MapIndex(k)
					list = append(list,
						place{base: base, key: key + " (value)", set: func(c *Config, s string) { at(c).SetMapIndex(k, reflect.ValueOf(s)) }},
						place{base: base, key: key + " (name)", set: func(c *Config, s string) {
							at(c).SetMapIndex(k, reflect.Value{})
							at(c).SetMapIndex(reflect.ValueOf(s), value)
						}})
				}
			case reflect.String:
				if v.String() != "" {
					list = append(list, place{base: base, key: key, set: func(c *Config, s string) { at(c).SetString(s) }})
				}
			}
		}
		walk(reflect.ValueOf(definition(t, base)).Elem(), "", func(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() })
	}
	list = slices.DeleteFunc(list, func(p place) bool {
		return slices.ContainsFunc(rawKeys, func(raw string) bool { return strings.HasSuffix(p.key, "."+raw) })
	})
	for i := range list {
		p := &list[i]
		for _, m := range marks {
			one, err1 := p.argv(t, m[0])
			two, err2 := p.argv(t, m[1])
			if err1 != nil || err2 != nil {
				one, two = nil, nil
			}
			p.marked = append(p.marked, [2][]string{one, two})
		}
	}
	return list
}

func definition(t testing.TB, base int) *Config {
	t.Helper()
	c, err := Parse("/etc/mvm/myvm.json", []byte(injectable[base]))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// argv is what QEMU is told when the place has the value: as mvm starts it, and
// as a shell does. A value that is refused is an error.
func (p *place) argv(t testing.TB, s string) ([]string, error) {
	t.Helper()
	c := definition(t, p.base)
	p.set(c, s)
	if utf8.ValidString(s) {
		// The whole way, through the text of a definition.
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = Parse("/etc/mvm/myvm.json", text); err != nil {
			return nil, err
		}
	}
	if err := c.CheckRules(); err != nil {
		return nil, err
	}
	host := Host{Arch: "amd64", Accel: qemu.TCG, CID: 3, Place: state.Dirs{State: "/var/lib/mvm", Runtime: "/run/mvm"}.Machine(c.MachineName())}
	m, plan, err := Plan(c, c.Unresolved(), host)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.Check(), plan.Check()); err != nil {
		return nil, err
	}
	args := m.Args()
	if _, err := guestview.Of(args); err != nil {
		t.Errorf("%s = %q: the arguments cannot be read back: %v", p.key, s, err)
	}
	m.Standalone = true
	return append(args, m.Args()...), nil
}

// notOptions are the flags whose value is not a list of key=value.
var notOptions = []string{"-kernel", "-initrd", "-append", "-cpu", "-smp", "-serial"}

// fields splits an argument as QEMU does (QEMU 7.2, util/qemu-option.c): each
// "key=" and its value in turn.
func fields(flag, arg string) []string {
	if slices.Contains(notOptions, flag) {
		return []string{"", arg}
	}
	var list []string
	for arg != "" {
		var value strings.Builder
		for arg != "" {
			if arg[0] == ',' {
				if !strings.HasPrefix(arg, ",,") {
					arg = arg[1:]
					break
				}
				arg = arg[1:]
			}
			value.WriteByte(arg[0])
			arg = arg[1:]
		}
		key, v, ok := strings.Cut(value.String(), "=")
		if !ok {
			key, v = "", key
		}
		list = append(list, key, v)
	}
	return list
}

// kernelWords splits a command line as the kernel does (next_arg in
// lib/cmdline.c): at blanks outside of quotation marks, which it drops.
func kernelWords(line string) []string {
	words, quoted, inWord := []string{}, false, false
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
			if !inWord {
				words, inWord = append(words, ""), true
			}
		case (c == ' ' || c == '\t') && !quoted:
			inWord = false
		default:
			if !inWord {
				words, inWord = append(words, ""), true
			}
			words[len(words)-1] += line[i : i+1]
		}
	}
	return words
}

// carries checks that a value in a place is refused with a reason, or reaches
// QEMU as it is, and changes nothing but what is made of it. It returns whether
// the value is accepted.
func (p *place) carries(t *testing.T, s string) bool {
	t.Helper()
	if s == "" {
		return false // it is as if the key were not there
	}
	got, err := p.argv(t, s)
	if err != nil {
		if err.Error() == "" {
			t.Errorf("%s = %q is refused without a reason", p.key, s)
		}
		return false
	}
	for n, m := range marks {
		one, two := p.marked[n][0], p.marked[n][1]
		if one == nil || kind(m[0]) != kind(s) {
			continue // a path is not what a name is
		}
		if len(got) != len(one) || len(one) != len(two) {
			t.Fatalf("%s = %q makes %d arguments; want %d", p.key, s, len(got), len(one))
		}
		flag := ""
		for i := range one {
			g, a, b := fields(flag, got[i]), fields(flag, one[i]), fields(flag, two[i])
			if len(g) != len(a) || len(a) != len(b) {
				t.Errorf("%s = %q changes the meaning of %s %q; want the keys of %q", p.key, s, flag, got[i], one[i])
				return true
			}
			for j := range a {
				if flag == "-append" && !strings.Contains(p.key, "kernelParams") {
					// As the kernel takes it apart.
					if !slices.EqualFunc(kernelWords(g[j]), kernelWords(a[j]), func(g, a string) bool {
						return same(g, a, strings.ReplaceAll(a, m[0], m[1]), m, s)
					}) {
						t.Errorf("%s = %q makes the kernel's words %q; want the like of %q", p.key, s, kernelWords(g[j]), kernelWords(a[j]))
					}
					continue
				}
				if !same(g[j], a[j], b[j], m, s) {
					t.Errorf("%s = %q makes %s %q; want the like of %q", p.key, s, flag, got[i], one[i])
				}
			}
			flag = one[i]
		}
		break
	}
	return true
}

// kind tells apart what is treated in ways of its own.
func kind(s string) int {
	switch {
	case strings.HasPrefix(s, "/nix/store/"):
		return 2
	case filepath.IsAbs(s):
		return 1
	}
	return 0
}

// same reports whether got is what s makes where the marks make a and b.
func same(got, a, b string, m [2]string, s string) bool {
	switch {
	case a == b: // nothing is made of it
		return got == a
	case strings.ReplaceAll(a, m[0], m[1]) != b: // a digest or the like
		return true
	}
	want := strings.ReplaceAll(a, m[0], s)
	return got == want || got == filepath.Clean(want) ||
		strings.HasPrefix(a, "mvm-") // a serial number that is made of a label: short enough, or a digest
}

var hostile = []string{
	"", ",", ",,", "a,b", "a,,b", "a,b=c", ",readonly=off", ",path=/etc", "=", "a=b", "==", " ", "a b", "'", `"`, `\`, "\n", "a\nb", "\r", "\t",
	"-", "-drive", "--", "-sandbox", "help", "?", "on", "off", "ü", "日本語,x", "e\u0301", "\u202e", "\xff\xfe", "\x00", "a\x00b",
	strings.Repeat("x", 300), strings.Repeat("x,", 150), strings.Repeat("ü", 150), "{\"driver\":\"file\"}", "json:{}", "fat:rw:/", "nbd:localhost:1",
	"%n%s", "$(id)", "`id`", ";", "|", "~", "..", ".", "/", "//", "../../etc/passwd", "/dev/fdset/3", "/a b", "/a\"b", "/a,b", "/a=b", "/-", "/nix/store/a b", "/nix/store/a\"b-c", "/proc/self/fd/3", "tcp::22-:22",
}

// TestNoStringOfADefinitionChangesWhatQEMUIsTold puts each of them everywhere.
func TestNoStringOfADefinitionChangesWhatQEMUIsTold(t *testing.T) {
	list := places(t)
	if len(list) < 50 {
		t.Fatalf("%d strings in the definitions; want all of them", len(list))
	}
	accepted := 0
	for i := range list {
		for _, s := range hostile {
			if list[i].carries(t, s) {
				accepted++
			}
		}
	}
	if accepted < len(list) {
		t.Errorf("%d of %d values are accepted: nothing was tested", accepted, len(list)*len(hostile))
	}
	t.Logf("%d places, %d values each, %d accepted", len(list), len(hostile), accepted)
}

func FuzzNoStringOfADefinitionChangesWhatQEMUIsTold(f *testing.F) {
	list := places(f)
	for i := range list {
		f.Add(i, fmt.Sprintf("a,%d=b", i))
	}
	for i, s := range hostile {
		f.Add(i, s)
	}
	f.Fuzz(func(t *testing.T, i int, s string) {
		if i < 0 {
			i = -(i + 1)
		}
		list[i%len(list)].carries(t, s)
	})
}
