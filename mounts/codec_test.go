package mounts

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	for _, s := range samples() {
		p := mustFor(t, s.config)
		data, err := Encode(p)
		if err != nil {
			t.Fatalf("%s: Encode(): %v", s.name, err)
		}
		got, err := Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: Decode(): %v", s.name, err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("%s: Decode(Encode()) (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"nothing", "", "mount plan: unexpected end of JSON input"},
		{"a later version, which has new fields", `{"version":2,"new":1}`, "mount plan: version 2, this program knows 1"},
		{"no version", `{"mounts":[]}`, "mount plan: version 0, this program knows 1"},
		{"an unknown field", `{"version":1,"mounts":[{"where":"/","size":1}]}`, `mount plan: json: unknown field "size"`},
		{"two plans", `{"version":1}{"version":1}`, "mount plan: invalid character '{' after top-level value"},
		{"too much", `{"version":1` + strings.Repeat(" ", MaxPlan) + "}", "mount plan: over 1048576 bytes"},
	}
	for _, tt := range tests {
		p, err := Decode(strings.NewReader(tt.data))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: Decode() = %+v, %v; want %s", tt.name, p, err, tt.want)
		}
	}
	broken := errors.New("broken")
	if _, err := Decode(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("Decode() of a broken reader: %v; want %v", err, broken)
	}
}

func TestEncodeKeepsTheLimit(t *testing.T) {
	p := good()
	p.Mounts[0].What = strings.Repeat("x", MaxPlan)
	if data, err := Encode(p); err == nil {
		t.Errorf("Encode() of too large a plan = %d bytes; want an error", len(data))
	}
}

// FuzzDecode looks for input that crashes the guest's reader, and for plans that
// pass the check and then come to harm.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		data, err := Encode(mustFor(f, s.config))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(bytes.NewReader(data))
		if err != nil || p.Check() != nil {
			return
		}
		again, err := Encode(p)
		if err != nil {
			t.Fatalf("Encode() of a decoded plan: %v", err)
		}
		q, err := Decode(bytes.NewReader(again))
		if err != nil {
			t.Fatalf("Decode() of an encoded plan: %v", err)
		}
		// Empty and absent lists are the same plan.
		third, err := Encode(q)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("Encode() = %s, %v; want %s", third, err, again)
		}
		if lines := parseFstab(t, p.Fstab()); len(lines) != len(p.Mounts) {
			t.Fatalf("Fstab() has %d entries; want %d:\n%s", len(lines), len(p.Mounts), p.Fstab())
		}
		p.Nix()
		p.NixJSON()
		p.InitrdUnits()
		p.SystemUnits()
	})
}
