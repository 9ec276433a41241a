package test_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// bundle reads the archive that "mvm why --bundle" wrote.
func bundle(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v, %v; want 0600", path, fi.Mode(), err)
	}
	var z io.Reader
	if strings.HasSuffix(path, ".zst") {
		z, err = zstd.NewReader(f)
	} else {
		z, err = gzip.NewReader(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := io.Copy(&b, r); err != nil {
			t.Fatal(err)
		}
		files[h.Name] = b.String()
	}
}

// TestWhy: how a machine ended is shown with what speaks for it, and all that is
// known of it goes into one file, without secrets.
func TestWhy(t *testing.T) {
	h := newFakeHost(t)
	secret := write(t, filepath.Join(h.Dir, "secret"), "opensesame")
	v := h.start(t, "gone", h.ready+"; stderr disk on fire; console Kernel says pin=1234 password=swordfish; events 3",
		"kernelParams = [\"app.token=hunter2\", \"quiet\"]\ncredentialFiles = { door = \""+secret+"\" }")
	v.WaitReady()
	live := filepath.Join(h.Dir, "live.tar.zst")
	want(t, h.Host, 0, "gone: wrote .*live.tar.zst; its README says", "why", "gone", "--bundle", live)
	if err := syscall.Kill(v.Status().QEMU, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := v.Wait(); e.Code != 122 {
		t.Fatalf("mvm run = %d; want 122\n%s", e.Code, e.Stderr)
	}
	why := want(t, h.Host, 0, "^$", "why", "gone").Stdout
	if !regexp.MustCompile(`(?s)^gone: qemu error, at .*signal 9 .*\nQEMU's messages:\n  disk on fire\n.*\nQEMU's last events:\n.*RTC_CHANGE.*\nthe end of the console:\n.*pin=1234.*the whole console is in `).MatchString(why) {
		t.Errorf("mvm why = %s", why)
	}
	dead := filepath.Join(h.Dir, "dead.tar.gz")
	want(t, h.Host, 0, "gone: wrote .*dead.tar.gz", "why", "gone", "--bundle", dead)
	want(t, h.Host, 2, `want a name that ends in`, "why", "gone", "--bundle", "x.zip")
	want(t, h.Host, 101, `no such file or directory`, "why", "gone", "--bundle", filepath.Join(h.Dir, "none", "x.tgz"))
	if left, err := filepath.Glob(filepath.Join(h.Dir, ".*")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for path, files := range map[string][]string{
		live: {"status.json", "usage.json", "events.ndjson"},
		dead: {"exit.json", "why.txt", "events.ndjson"},
	} {
		got := bundle(t, path)
		for _, name := range append(files, "README", "console.log", "definition.toml", "argv.txt", "mounts.json", "version.txt", "host.txt", "doctor.json") {
			if got["mvm-gone/"+name] == "" {
				t.Errorf("%s: %s is missing or empty", filepath.Base(path), name)
			}
		}
		var all strings.Builder
		for _, name := range slices.Sorted(maps.Keys(got)) {
			all.WriteString(got[name])
		}
		for _, no := range []string{"hunter2", "opensesame", "swordfish", "FAKEQEMU_SCRIPT"} {
			if strings.Contains(all.String(), no) {
				t.Errorf("%s has %q in it", filepath.Base(path), no)
			}
		}
		for _, yes := range []string{"pin=1234", "app.token=[left out]", secret, `"state":"ready"`, "-kernel"} {
			if !strings.Contains(all.String(), yes) {
				t.Errorf("%s lacks %q", filepath.Base(path), yes)
			}
		}
	}
}

// TestLogsSince: what was written before is not shown.
func TestLogsSince(t *testing.T) {
	h := newFakeHost(t)
	v := h.start(t, "told", h.ready+"; console once upon a time", "")
	v.WaitReady()
	v.AwaitOutput("once upon")
	for since, there := range map[string]bool{"10m": true, "2000-01-01": true, "0s": false, "2100-01-01": false} {
		e := want(t, h.Host, 0, "^$", "logs", "--since", since, "told")
		// What was written within the last second may be shown.
		if got := strings.Contains(e.Stdout, "once upon"); got != there && since != "0s" {
			t.Errorf("mvm logs --since %s has it: %v; want %v", since, got, there)
		}
	}
	want(t, h.Host, 2, "want how long ago", "logs", "--since", "soon", "told")
	v.Stop()
}
