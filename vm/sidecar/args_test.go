package sidecar

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/argv from the current output")

// golden compares args, one to a line, with a file in testdata/argv.
func golden(t *testing.T, name string, args []string) {
	t.Helper()
	got := strings.Join(args, "\n") + "\n"
	file := filepath.Join("testdata", "argv", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run: go test ./vm/sidecar -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("Args() changed (-want +got); if intended, run go test ./vm/sidecar -update:\n%s", diff)
	}
}

func TestDaemonArgs(t *testing.T) {
	daemons := map[string]*Daemon{
		"c":        {Kind: C, Version: "7.2.22"},
		"rust":     {Kind: Rust, Version: "1.13.2", readOnly: true},
		"rust-old": {Kind: Rust, Version: "1.10.0"},
	}
	src := Virtiofsd{Share: "src", Source: "/srv/src"}
	with := func(edit func(*Virtiofsd)) Virtiofsd {
		v := src
		edit(&v)
		return v
	}
	tests := []struct {
		name string
		v    Virtiofsd
		on   string // daemons, by default all
	}{
		{"minimal", src, ""},
		{"source", with(func(v *Virtiofsd) { v.Source = `/srv/a,b c=d\e 'f' "g"` }), "c rust"},
		{"source-dash", with(func(v *Virtiofsd) { v.Source = "/-o,--fd=0" }), "c rust"},
		{"read-only", with(func(v *Virtiofsd) { v.ReadOnly = true }), ""},
		{"cache-always", with(func(v *Virtiofsd) { v.Cache = "always" }), "c rust"},
		{"cache-metadata", with(func(v *Virtiofsd) { v.Cache = "metadata" }), "c rust"},
		{"cache-never", with(func(v *Virtiofsd) { v.Cache = "never" }), "c rust"},
		{"xattr", with(func(v *Virtiofsd) { v.Xattr = true }), "c rust"},
		{"microvm-nix", with(func(v *Virtiofsd) {
			v.Cache, v.PosixACL, v.Threads, v.FileHandles = "auto", true, 8, "prefer"
		}), "c rust"},
		{"chroot", with(func(v *Virtiofsd) { v.Sandbox = "chroot" }), "c rust"},
		{"translate", with(func(v *Virtiofsd) {
			v.TranslateUID, v.TranslateGID = []string{"map:0:1000:1", "forbid-guest:1:1:99"}, []string{"squash-guest:0:100:4294967295"}
		}), "rust"},
		{"extra", with(func(v *Virtiofsd) { v.ExtraArgs = []string{"-o", "cache=always", "--syslog"} }), "c rust"},
	}
	for _, tt := range tests {
		on := tt.on
		if on == "" {
			on = "c rust rust-old"
		}
		for kind := range strings.FieldsSeq(on) {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				args, err := daemons[kind].Args(tt.v, 3)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, kind+"-"+tt.name, args)
			})
		}
	}
}

func TestDaemonArgsRefuses(t *testing.T) {
	tests := []struct {
		name string
		kind Kind
		v    Virtiofsd
		want string
	}{
		{"relative source", Rust, Virtiofsd{Source: "src"}, `the source "src" is not an absolute path`},
		{"no source", C, Virtiofsd{}, `the source "" is not an absolute path`},
		{"zero byte", C, Virtiofsd{Source: "/a\x00b"}, `the source "/a\x00b" has a zero byte`},
		{"cache", Rust, Virtiofsd{Source: "/", Cache: "none"}, `cache "none" is none of auto, always, metadata, never`},
		{"file handles", Rust, Virtiofsd{Source: "/", FileHandles: "always"}, `file handles "always" is none of never, prefer, mandatory`},
		{"sandbox", Rust, Virtiofsd{Source: "/", Sandbox: "off"}, `sandbox "off" is none of namespace, chroot, none`},
		{"threads", C, Virtiofsd{Source: "/", Threads: -1}, "-1 threads are too few"},
		{"translated ACLs", Rust, Virtiofsd{Source: "/", PosixACL: true, TranslateUID: []string{"map:0:1:1"}},
			"translated owners and POSIX ACLs exclude each other"},
		{"translation by C", C, Virtiofsd{Source: "/", TranslateGID: []string{"map:0:1:1"}},
			"describe it to virtiofsd 1 (C): it cannot translate owners"},
		{"handles by C", C, Virtiofsd{Source: "/", FileHandles: "mandatory"}, "describe it to virtiofsd 1 (C): it has no file handles"},
		{"no sandbox by C", C, Virtiofsd{Source: "/", Sandbox: "none"}, "describe it to virtiofsd 1 (C): it does not run without a sandbox"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, err := (&Daemon{Kind: tt.kind, Version: "1"}).Args(tt.v, 3)
			if err == nil || err.Error() != tt.want {
				t.Errorf("Args(%+v) = %q, %v; want %s", tt.v, args, err, tt.want)
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	help := func(name string) string {
		b, err := os.ReadFile("testdata/help/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tests := []struct {
		name, version, help string
		want                string
		readOnly            bool
		err                 string
	}{
		{"C", "virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright", help("c-7.2.22"), "virtiofsd 7.2.22 (C)", false, ""},
		{"Rust", "virtiofsd 1.13.2\n", help("rust-1.13.2"), "virtiofsd 1.13.2 (Rust)", true, ""},
		{"Rust before --readonly", "virtiofsd backend v1.4.0\n", "--shared-dir <shared-dir>\n--fd <fd>\n", "virtiofsd 1.4.0 (Rust)", false, ""},
		{"no fd", "virtiofsd 0.9\n", "--shared-dir\n", "", false, "virtiofsd 0.9 (Rust) does not take an open socket"},
		{"no version", "", help("rust-1.13.2"), "", false, "it does not tell its version"},
		{"another program", "cat 9.1", "usage: cat", "", false, "it is not a virtiofsd that is known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := recognise(tt.version, tt.help)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("recognise() = %v, %v; want %s", d, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.String() != tt.want || d.readOnly != tt.readOnly {
				t.Errorf("recognise() = %v, read-only %v; want %s, %v", d, d.readOnly, tt.want, tt.readOnly)
			}
		})
	}
}

func TestPasstArgs(t *testing.T) {
	port := func(udp bool, addr string, host, guest uint16) Forward {
		f := Forward{UDP: udp, HostPort: host, GuestPort: guest}
		if addr != "" {
			f.HostAddr = netip.MustParseAddr(addr)
		}
		return f
	}
	tests := []struct {
		name string
		n    Passt
	}{
		{"passt-minimal", Passt{}},
		{"passt-hidden", Passt{HideHost: true}},
		{"passt-forwards", Passt{Forwards: []Forward{
			port(false, "", 8080, 80), port(true, "", 5353, 53), port(false, "127.0.0.1", 2222, 22), port(true, "::1", 1, 65535),
			port(false, "::ffff:127.0.0.2", 3, 4),
		}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, err := new(PasstProgram).Args(tt.n, 3)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, args)
		})
	}
	for _, f := range []Forward{{GuestPort: 1}, {HostPort: 1}, port(false, "fe80::1%eth0", 1, 1)} {
		if args, err := new(PasstProgram).Args(Passt{Forwards: []Forward{f}}, 3); err == nil {
			t.Errorf("Args(%+v) = %q; want an error", f, args)
		}
	}
}
