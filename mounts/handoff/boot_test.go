package handoff

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvmrun/mvm/mounts"
)

func orders(t testing.TB) Boot {
	t.Helper()
	plan, err := mounts.For(mounts.Config{StoreOnDisk: true, WritableStoreOverlay: "/nix/.rw-store"})
	if err != nil {
		t.Fatal(err)
	}
	return Boot{
		Version: Version, Hostname: "web", Modules: []string{"erofs.ko", "overlay.ko"}, Plan: plan,
		Init: []string{"/nix/store/x/init", "--a=<b>"}, DeviceTimeout: 5000, Registration: "/mvm/registration",
	}
}

func TestDecodeBootReadsWhatEncodeBootWrote(t *testing.T) {
	want := orders(t)
	data, err := EncodeBoot(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBoot(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DecodeBoot(EncodeBoot()) (-want +got):\n%s", diff)
	}
}

func TestDecodeBootRefuses(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"nothing", "", "unexpected end"},
		{"a later version, which has new fields", `{"version":2,"new":1}`, "version 2, this program knows 1"},
		{"an unknown field", `{"version":1,"new":1}`, `unknown field "new"`},
		{"an unknown field of the plan", `{"version":1,"plan":{"version":1,"new":1}}`, `unknown field "new"`},
		{"more after the end", `{"version":1} {}`, "after top-level value"},
		{"too much", strings.Repeat(" ", MaxBoot+1), "over 2097152 bytes"},
		{"a bad plan", `{"version":1,"init":["/init"],"plan":{"version":1}}`, "nothing is mounted"},
	}
	for _, tt := range tests {
		b, err := DecodeBoot(strings.NewReader(tt.data))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: DecodeBoot() = %+v, %v; want %s", tt.name, b, err, tt.want)
		}
	}
}

func TestBootCheck(t *testing.T) {
	b := orders(t)
	b.Version, b.Init, b.DeviceTimeout, b.Registration = 3, []string{"init", "a\x00"}, -1, "r"
	b.Modules = []string{"", "..", "a/b.ko", "ok.ko"}
	want := `boot orders: version 3, this program knows 1
boot orders: init ["init" "a\x00"] does not begin with an absolute path
boot orders: argument "a\x00" of init has a NUL
boot orders: module "" is not the name of a file
boot orders: module ".." is not the name of a file
boot orders: module "a/b.ko" is not the name of a file
boot orders: device timeout of -1 ms is negative
boot orders: registration "r" is not an absolute path`
	err := b.Check()
	if err == nil {
		t.Fatal("Check() = nil; want mistakes")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("Check() (-want +got):\n%s", diff)
	}
	if _, err := EncodeBoot(b); err == nil {
		t.Error("EncodeBoot() of bad orders = nil; want the mistakes")
	}
}

// FuzzDecodeBoot looks for orders that crash mvm-init.
func FuzzDecodeBoot(f *testing.F) {
	data, err := EncodeBoot(orders(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"init":["/i"],"plan":{"version":1,"mounts":[{"where":"/","type":"tmpfs","what":"t"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBoot(bytes.NewReader(data))
		if err != nil {
			return
		}
		again, err := EncodeBoot(b)
		if err != nil {
			t.Fatalf("EncodeBoot() of decoded orders: %v", err)
		}
		if _, err := DecodeBoot(bytes.NewReader(again)); err != nil {
			t.Fatalf("DecodeBoot() of encoded orders: %v", err)
		}
	})
}
