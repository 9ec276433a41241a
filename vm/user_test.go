package vm

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mvmrun/mvm/qemu"
)

func TestAnUnknownUserIsTheHostsFault(t *testing.T) {
	c := &Config{User: "mvm-nobody-has-this-name"}
	_, _, err := c.credential(qemu.TCG)
	if he := (*HostError)(nil); !errors.As(err, &he) || !strings.Contains(he.Hint, "useradd --system") || he.Err.Error() != "this host has no such user" {
		t.Errorf("credential() = %v; want a HostError with a hint to make the user", err)
	}
}

func TestCredentialIsTheUsers(t *testing.T) {
	if cred, note, err := (&Config{}).credential(qemu.TCG); cred != nil || note != "" || err != nil {
		t.Errorf("credential() without a user = %+v, %q, %v; want nothing", cred, note, err)
	}
	cred, note, err := (&Config{User: "nobody"}).credential(qemu.TCG)
	switch {
	case err != nil:
		t.Fatal(err)
	case os.Geteuid() != 0:
		if cred != nil || !strings.Contains(note, "only root") {
			t.Errorf("credential() = %+v, %q; want a note that only root can", cred, note)
		}
	case cred == nil || cred.Uid != 65534 || len(cred.Groups) == 0 || note != "":
		t.Errorf("credential() = %+v, %q; want user 65534 with its group", cred, note)
	}
}

func TestPermitsIsTheKernelsRule(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away: run as root")
	}
	cred := &syscall.Credential{Uid: 1001, Gid: 1002, Groups: []uint32{1003}}
	tests := []struct {
		uid, gid int
		mode     os.FileMode
		want     bool
	}{
		{0, 0, 0o644, true},
		{0, 0, 0o640, false},
		{1001, 0, 0o400, true},
		{1001, 0, 0o044, false}, // the owner's bits are the only ones that count
		{0, 1002, 0o040, true},
		{0, 1003, 0o040, true},
		{0, 1003, 0o404, false},
		{0, 1004, 0o440, false},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "f")
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, tt.uid, tt.gid), os.Chmod(file, tt.mode)); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := permits(fi, cred, 0o4); got != tt.want {
			t.Errorf("permits(%d:%d %v) = %v; want %v", tt.uid, tt.gid, tt.mode, got, tt.want)
		}
	}
}

func TestTheDevicesGroupIsAdded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away: run as root")
	}
	device := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cred := &syscall.Credential{Uid: 1001, Gid: 1002}
	if err := letOpenKVM(cred, device); !errors.Is(err, os.ErrPermission) || len(cred.Groups) != 0 {
		t.Errorf("letOpenKVM() of root's own device = %v, groups %v; want no permission", err, cred.Groups)
	}
	if err := errors.Join(os.Chown(device, 0, 1003), os.Chmod(device, 0o660)); err != nil {
		t.Fatal(err)
	}
	if err := letOpenKVM(cred, device); err != nil || len(cred.Groups) != 1 || cred.Groups[0] != 1003 {
		t.Errorf("letOpenKVM() = %v, groups %v; want the device's group", err, cred.Groups)
	}
}

// TestAFileThatTheUserMayNotReadIsCopied: what comes out can be opened anew by
// its descriptor, has the contents, and cannot be written.
func TestAFileThatTheUserMayNotReadIsCopied(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(file, []byte("kernel"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		uid    uint32
		copied bool
	}{{uint32(os.Geteuid()), false}, {uint32(os.Geteuid()) + 1, true}} {
		f, err := openReadable(file, "kernel", &syscall.Credential{Uid: tt.uid, Gid: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if b, err := io.ReadAll(f); string(b) != "kernel" || err != nil {
			t.Errorf("for user %d it reads as %q, %v", tt.uid, b, err)
		}
		if _, err := f.Write([]byte("x")); err == nil {
			t.Errorf("for user %d it can be written", tt.uid)
		}
		fi, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if copied := fi.Mode().Perm() == 0o444; copied != tt.copied {
			t.Errorf("for user %d it is copied: %v; want %v", tt.uid, copied, tt.copied)
		}
	}
}

func TestOnlyDisksAreOpenedAsDisks(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/null", filepath.Join(dir, "none")} {
		m := qemu.Machine{Drives: []qemu.Drive{{ID: "a", Path: path, File: "disk a", Why: "volumes[0]"}}}
		files := map[string]*os.File{}
		if err := openFiles(&program{machine: m}, files); err == nil || !strings.HasPrefix(err.Error(), "volumes[0]: ") || len(files) != 0 {
			t.Errorf("openFiles(%s) = %v; want an error of volumes[0]", path, err)
		}
	}
}
