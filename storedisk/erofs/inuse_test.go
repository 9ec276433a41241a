package erofs

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestInUseByQEMU(t *testing.T) {
	qemu := tool(t, "qemu-system-x86_64", "qemu-system-x86")
	f, x := build(t, nil, Options{})
	reader, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	check := func(want bool) {
		t.Helper()
		if got, err := InUse(reader); got != want || err != nil {
			t.Errorf("InUse() = %v, %v; want %v", got, err, want)
		}
	}
	check(false)

	// A machine that does not run is enough, but the disk must be plugged in.
	cmd := exec.Command(qemu, "-M", "microvm", "-accel", "tcg", "-m", "16", "-S", "-nodefaults",
		"-display", "none", "-monitor", "stdio", "-device", "virtio-blk-device,drive=store",
		"-blockdev", "driver=raw,node-name=store,read-only=on,file.driver=file,file.filename="+f.Name())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It answers once all its devices are there.
	if _, err := in.Write([]byte("info status\n")); err != nil {
		t.Error(err)
	}
	for r, line := bufio.NewReader(out), ""; !strings.Contains(line, "VM status"); {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatalf("waiting for QEMU: %v", err)
		}
	}
	check(true)
	if _, _, err := Update(t.Context(), f, x, nil, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("Update() = %v; want ErrInUse", err)
	}
	if _, err := in.Write([]byte("quit\n")); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	check(false)
	if _, _, err := Update(t.Context(), f, x, nil, Options{}); err != nil {
		t.Errorf("Update() = %v", err)
	}
}

// While an image is edited, QEMU does not open it.
func TestLockOut(t *testing.T) {
	read := []string{"-r", "-f", "raw", "-c", "read 0 512"}
	qemu := tool(t, "qemu-io", "qemu-utils")
	f, _ := build(t, nil, Options{})
	unlock, err := lockOut(f)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(qemu, append(read, f.Name())...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "lock") {
		t.Errorf("qemu-io opened an image that is being edited: %v\n%s", err, out)
	}
	g, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := lockOut(g); !errors.Is(err, ErrInUse) {
		t.Errorf("lockOut() of a locked image = %v; want ErrInUse", err)
	}
	unlock()
	run(t, qemu, append(read, f.Name())...)
}
