package test_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvmrun/mvm/test"
)

// copyFiles copies a tree into a guest and back, and compares it there and here.
func copyFiles(t *testing.T, h *test.Host, v *test.VM) {
	src := filepath.Join(h.Dir, "src")
	noise := make([]byte, 3_000_000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	if err := os.MkdirAll(filepath.Join(src, "sub", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"a": "hello\n", "noise": string(noise), "sub/tool": "#!/bin/sh\necho I run\n", "none": "",
	} {
		write(t, filepath.Join(src, name), content)
	}
	if err := os.Chmod(filepath.Join(src, "sub/tool"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../a", filepath.Join(src, "sub/link")); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1_500_000_000, 0)
	if err := os.Chtimes(filepath.Join(src, "a"), old, old); err != nil {
		t.Fatal(err)
	}
	sparse := write(t, filepath.Join(src, "sparse"), "begin")
	if err := os.Truncate(sparse, 1<<30); err != nil {
		t.Fatal(err)
	}
	mvm := func(args ...string) {
		t.Helper()
		if e := h.Mvm(args...); e.Code != 0 || e.Stdout != "" || e.Stderr != "" {
			t.Errorf("mvm %s = %d, %q, %q; want 0 and not a word", strings.Join(args, " "), e.Code, e.Stdout, e.Stderr)
		}
	}
	mvm("cp", src, v.Name+":/run/dst")
	got := v.Exec("sh", "-c", `cd /run/dst && cat a && ls -l a && cat sub/link && sub/tool && ls -ld sub/empty sub/tool && stat -c '%s %b' sparse`)
	for _, want := range []string{
		"hello\n-rw-r--r--    1 root     root             6 Jul 14  2017 a\nhello\nI run\n",
		"-rwxr-x---", "drwxr-xr-x", "1073741824 8\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("in the guest there is %q; want %q in it", got, want)
		}
	}
	back := filepath.Join(h.Dir, "back")
	mvm("cp", v.Name+":/run/dst", back)
	for _, name := range []string{"a", "none", "noise", "sub/tool", "sub/link"} {
		want, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(back, name)); string(got) != string(want) {
			t.Errorf("%s came back with %d bytes, %v; want the same %d", name, len(got), err, len(want))
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(back, "sparse"), &st); err != nil || st.Size != 1<<30 || st.Blocks > 64 {
		t.Errorf("the sparse file came back with %d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	if target, err := os.Readlink(filepath.Join(back, "sub/link")); target != "../a" {
		t.Errorf("the link came back to %q, %v", target, err)
	}
	// A link that is named is followed, contents go where they are told, and
	// a directory takes what it is given.
	mvm("cp", v.Name+":/run/current-system/sw/bin/sh", filepath.Join(h.Dir, "shell"))
	if fi, err := os.Lstat(filepath.Join(h.Dir, "shell")); err != nil || fi.Size() < 100_000 {
		t.Errorf("the guest's shell came as %v, %v", fi, err)
	}
	mvm("cp", src+"/sub/.", v.Name+":/run/dst")
	mvm("cp", src+"/a", v.Name+":run/dst/sub")
	v.Exec("test", "-x", "/run/dst/tool", "-a", "-f", "/run/dst/sub/a")
	v.Exec("rm", "-rf", "/run/dst")
}

// copyAndFail checks what is said of copies that cannot be.
func copyAndFail(t *testing.T, h *test.Host, v *test.VM) {
	file := write(t, filepath.Join(h.Dir, "file"), "new")
	v.Exec("sh", "-c", "mkdir -p /run/odd && echo fine >/run/odd/file && mknod /run/odd/null c 1 3 && mkfifo /run/odd/pipe")
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing there", []string{v.Name + ":/none", h.Dir}, 1, "mvm: error: in execs: stat /none: no such file or directory\n"},
		{"nothing here", []string{filepath.Join(h.Dir, "none"), v.Name + ":/run"}, 1, "none: no such file or directory\n"},
		{"no directory there", []string{file, v.Name + ":/run/none/file"}, 1, "mvm: error: in execs: open /run/none: no such file or directory\n"},
		{"a read-only place", []string{file, v.Name + ":/nix/store/x"}, 1, "mvm: error: in execs: copy /nix/store/x: read-only file system\n"},
		{"a device", []string{file, v.Name + ":/dev/null"}, 1, "mvm: error: in execs: /dev/null: is a device and stays one\n"},
		{"no directory here", []string{v.Name + ":/run/odd/file", filepath.Join(h.Dir, "none/file")}, 1, "none: no such file or directory\n"},
		{"a part", []string{v.Name + ":/run/odd", h.Dir}, 1,
			"mvm: error: not copied:\n  /run/odd/null: is a device; files, directories and links are copied\n  /run/odd/pipe: is a pipe; files, directories and links are copied\n"},
		{"no machine", []string{file, "other:/run"}, 103, "mvm: error: other: not running\n"},
		{"no place there", []string{file, v.Name + ":"}, 2, "give a path on both sides"},
		{"between two", []string{v.Name + ":/a", v.Name + ":/b"}, 2, "both arguments are in machines"},
		{"none of them", []string{file, "./" + v.Name + ":/b"}, 2, "neither argument is NAME:PATH"},
	}
	for _, tt := range tests {
		e := h.Mvm(append([]string{"cp"}, tt.args...)...)
		if e.Code != tt.code || !strings.Contains(e.Stderr, tt.want) {
			t.Errorf("%s: mvm cp %q = %d, %q; want %d, %q", tt.name, tt.args, e.Code, e.Stderr, tt.code, tt.want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(h.Dir, "odd", "file")); string(b) != "fine\n" {
		t.Errorf("the rest of a part came as %q, %v", b, err)
	}
}

// copyAndLeave interrupts copies both ways: nothing that is not complete stays.
func copyAndLeave(t *testing.T, h *test.Host, v *test.VM) {
	big := write(t, filepath.Join(h.Dir, "big"), strings.Repeat("0123456789abcdef", 4<<20))
	v.Exec("sh", "-c", "mkdir /run/left && head -c 20000000 /dev/zero >/run/zero")
	local := filepath.Join(h.Dir, "left")
	if err := os.Mkdir(local, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, to string
		begun    func() bool
	}{
		{v.Name + ":/run/zero", local, func() bool { entries, _ := os.ReadDir(local); return len(entries) > 0 }},
		{big, v.Name + ":/run/left", func() bool { return v.Exec("ls", "-A", "/run/left") != "" }},
	} {
		cmd := h.Command("cp", tt.from, tt.to)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for !tt.begun() {
			time.Sleep(time.Millisecond)
		}
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(stderr.String(), "interrupted") {
			t.Errorf("mvm cp %s = %d, %q; want 130", tt.from, code, stderr.String())
		}
	}
	if entries, err := os.ReadDir(local); len(entries) > 0 || err != nil {
		t.Errorf("there is left %v, %v", entries, err)
	}
	for v.Exec("ls", "-A", "/run/left") != "" { // the guest tidies up in its own time
		time.Sleep(10 * time.Millisecond)
	}
	v.Exec("rm", "/run/zero")
}

// execAsUser runs commands as others than root.
func execAsUser(t *testing.T, h *test.Host, v *test.VM) {
	v.Exec("sh", "-c", `mkdir -p /run/etc /run/home && mount -o bind /run/etc /etc && echo 'alice:x:1000:100:Alice:/run/home:/bin/sh' >/etc/passwd && echo 'video:x:26:alice' >/etc/group`)
	for _, tt := range []struct {
		args   []string
		stdout string
		stderr string
		code   int
	}{
		{[]string{"exec", "--user", "alice", v.Name, "--", "sh", "-c", "id -u; id -g; id -G; echo $HOME $USER"}, "1000\n100\n100 26\n/run/home alice\n", "", 0},
		{[]string{"exec", "--user", "4711", v.Name, "id", "-u"}, "4711\n", "", 0},
		{[]string{"exec", "--user", "nobody", v.Name, "id"}, "", "mvm: error: the guest's /etc/passwd has no user \"nobody\"\n", 126},
		{[]string{"shell", "--user", "alice", v.Name, "--", "-c", "echo $0; pwd; id -u"}, "-sh\n/run/home\n1000\n", "", 0},
		{[]string{"shell", v.Name, "--", "-c", "id -u; exit 7"}, "0\n", "", 7},
	} {
		e := h.Mvm(tt.args...)
		if e.Code != tt.code || e.Stdout != tt.stdout || e.Stderr != tt.stderr {
			t.Errorf("mvm %q = %d, %q, %q; want %d, %q, %q", tt.args, e.Code, e.Stdout, e.Stderr, tt.code, tt.stdout, tt.stderr)
		}
	}
	cmd := h.Command("shell", "--user", "alice", v.Name)
	cmd.Env = append(cmd.Env, "TERM=vt220")
	m := openTerminal(t, cmd)
	m.await("$ ")
	m.typeKeys("echo $(id -u) $(tty) $TERM; stty size; echo own >$(tty)\r")
	m.await("1000 /dev/pts/")
	m.await("vt220\r\n33 99\r\nown\r\n")
	m.typeKeys("exit 5\r")
	if code := m.wait(); code != 5 {
		t.Errorf("mvm shell = %d; want 5", code)
	}
}
