package main

import (
	"strings"
	"testing"
)

func TestSecretsAreLeftOut(t *testing.T) {
	tests := []struct{ in, want string }{
		{`console=ttyS0 panic=-1`, `console=ttyS0 panic=-1`},
		{`myapp.password=hunter2 quiet`, `myapp.password=[left out] quiet`},
		{`kernelParams = ["db_token=abc", "quiet"]`, `kernelParams = ["db_token=[left out]", "quiet"]`},
		{`"apiKey": "abc def",`, `"apiKey": [left out],`},
		{`WIFI_PSK='a b'`, `WIFI_PSK=[left out]`},
		{`systemd.set_credential=login.issue:hello`, `systemd.set_credential=[left out]`},
		{`proxy=http://bob:s3cret@proxy:8080/x`, `proxy=http://[left out]@proxy:8080/x`},
		{`see http://example.org:80/a@b`, `see http://example.org:80/a@b`},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\nBBBB\n-----END OPENSSH PRIVATE KEY-----\nrest", "-----BEGIN OPENSSH PRIVATE KEY-----[left out]\nrest"},
		{`cloned with ghp_0123456789abcdef`, `cloned with [left out]`},
		{`Bearer eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl`, `Bearer [left out]`},
		{`k3s=K10c0ffee00112233445566778899aabbccddeeff`, `k3s=[left out]`},
		// What is needed stays.
		{`init=/nix/store/ylns4s554azs2vh7pfpzpzi8gifra5h0-myvm-system/init`, `init=/nix/store/ylns4s554azs2vh7pfpzpzi8gifra5h0-myvm-system/init`},
		{`credentialFiles = { sshkey = "/run/secrets/ssh" }`, `credentialFiles = { sshkey = "/run/secrets/ssh" }`},
		{`-fw_cfg name=opt/io.systemd.credentials/token,file=/run/secrets/token`, `-fw_cfg name=opt/io.systemd.credentials/token,file=/run/secrets/token`},
		{`uuid=0a1b2c3d-0a1b-2c3d-4e5f-001122334455`, `uuid=0a1b2c3d-0a1b-2c3d-4e5f-001122334455`},
	}
	for _, tt := range tests {
		if got := redact(tt.in); got != tt.want {
			t.Errorf("redact(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("password=x ://a:b@c")
	f.Fuzz(func(t *testing.T, s string) {
		if got := redact("user.password=" + "hunter2hunter2" + "\n" + s); strings.HasPrefix(got, "user.password=hunter2") {
			t.Errorf("redact() = %q", got)
		}
	})
}
