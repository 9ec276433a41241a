package mounts

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parseFstab reads fstab as fstab(5) describes it, by other means than the
// package: fields between blanks, octal escapes by strconv.
func parseFstab(t *testing.T, text string) []fstabEntry {
	t.Helper()
	var entries []fstabEntry
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(fields) != 6 {
			t.Fatalf("line of fstab with %d fields: %q", len(fields), line)
		}
		for i, f := range fields {
			fields[i] = unescapeOctal(f)
		}
		entries = append(entries, fstabEntry{fields[0], fields[1], fields[2], fields[3]})
	}
	return entries
}

func unescapeOctal(s string) string {
	head, tail, found := strings.Cut(s, `\`)
	if !found {
		return s
	}
	if len(tail) >= 3 {
		if n, err := strconv.ParseUint(tail[:3], 8, 8); err == nil {
			return head + string([]byte{byte(n)}) + unescapeOctal(tail[3:])
		}
	}
	return head + `\` + unescapeOctal(tail)
}

// TestLibmountUnescapesWhatWeEscape gives findmnt every byte that Check lets
// through, in each field.
func TestLibmountUnescapesWhatWeEscape(t *testing.T) {
	p := Plan{Version: Version, Mounts: []Mount{{Where: "/", Type: "tmpfs", What: "rootfs"}}}
	for c := byte(0x20); c < 0x7f; c++ {
		m := Mount{
			Where: "/dir" + string(c) + "x", Type: "9p", What: "t" + string(c) + "g",
			Options: []string{"a=b" + string(c) + "c", "ro"},
		}
		if strings.ContainsRune(`/."\`, rune(c)) {
			m.Options = nil
		}
		if c == '/' {
			m.Where = "/slash"
		}
		p.Mounts = append(p.Mounts, m)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	var want []fstabEntry
	for _, m := range p.Mounts {
		want = append(want, entryOf(m))
	}
	file := filepath.Join(t.TempDir(), "fstab")
	if err := os.WriteFile(file, []byte(p.Fstab()), 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, findmnt(t, file)); diff != "" {
		t.Errorf("findmnt reads something else (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, parseFstab(t, p.Fstab())); diff != "" {
		t.Errorf("the test's own reader reads something else (-want +got):\n%s", diff)
	}
}

// FuzzFstab gives a mount any words. Those that Check lets through must come
// back out of fstab, and their unit must not have grown a line.
func FuzzFstab(f *testing.F) {
	f.Add("/nix/store", "nix-store", "ro,size=50%")
	f.Add("/srv/my data", "#tag", `context="a,b"`)
	f.Add(`/a\040b`, `\`, `a\,b`)
	f.Add("/a\tb\n", "ü", "x-systemd.requires=a b")
	f.Fuzz(func(t *testing.T, where, what, option string) {
		m := Mount{Where: where, Type: "9p", What: what, Options: []string{option}, Depends: []string{where + ".d"}}
		p := Plan{Version: Version, Mounts: []Mount{{Where: "/", Type: "tmpfs", What: "rootfs"}, m}}
		if p.Check() != nil {
			return
		}
		got := parseFstab(t, p.Fstab())
		want := []fstabEntry{entryOf(p.Mounts[0]), entryOf(m)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("fstab reads back as (-want +got):\n%s\n%s", diff, p.Fstab())
		}
		for _, u := range append(p.SystemUnits(), p.InitrdUnits()...) {
			for line := range strings.Lines(u.Text) {
				if line = strings.TrimSuffix(line, "\n"); line != strings.TrimSpace(line) || strings.HasSuffix(line, `\`) {
					t.Fatalf("line of %s that systemd reads in another way: %q", u.Name, line)
				}
			}
			if len(u.Name) > maxUnitName+len(".d/mvm.conf") {
				t.Fatalf("unit with a name of %d bytes", len(u.Name))
			}
		}
	})
}

func TestUnescapeField(t *testing.T) {
	for _, s := range []string{"", "a b", `\`, `\0`, `\04`, `\040`, `a\\040b`, "\t\n#", `\777`, `\400`, "é"} {
		if got := unescapeField(escapeField(s)); got != s {
			t.Errorf("unescapeField(escapeField(%q)) = %q", s, got)
		}
	}
	for in, want := range map[string]string{`\040`: " ", `a\134b`: `a\b`, `\09`: `\09`, `\400`: `\400`, `\377`: "\xff", `\`: `\`} {
		if got := unescapeField(in); got != want {
			t.Errorf("unescapeField(%q) = %q; want %q", in, got, want)
		}
	}
}
