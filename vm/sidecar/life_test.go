package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// readable waits until a descriptor can be read, which a pidfd can when its
// process has ended.
func readable(t *testing.T, fd int) bool {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				t.Fatal(err)
			}
			return n == 1
		}
	}
}

func pidfd(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestDaemonEndsWithItsConnection(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		h, conn := startDaemon(t, d, Virtiofsd{})
		if err := h.Err(); err != nil {
			t.Errorf("Err() of a running helper = %v; want nil", err)
		}
		if err := greetVhostUser(conn); err != nil {
			t.Errorf("the daemon does not answer twice: %v", err)
		}
		conn.Close()
		ended(t, h)
		died := (*Died)(nil)
		if !errors.As(h.Err(), &died) || died.Code != 0 || died.Name != "virtiofsd of share src" {
			t.Errorf("Err() = %v; want a death with status 0 of virtiofsd of share src", h.Err())
		}
		if left := group(t, h.PID()); len(left) > 0 {
			t.Errorf("processes %d are left", left)
		}
	})
}

func TestDeathIsNoticedAndNamed(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		h, _ := startDaemon(t, d, Virtiofsd{})
		for _, pid := range group(t, h.PID()) {
			pidfd(t, pid)
		}
		if err := unix.Kill(h.PID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ended(t, h)
		died := (*Died)(nil)
		if !errors.As(h.Err(), &died) || died.Signal != syscall.SIGKILL || died.Code != -1 || died.PID != h.PID() {
			t.Fatalf("Err() = %#v; want a death by SIGKILL", h.Err())
		}
		want := fmt.Sprintf("virtiofsd of share src (process %d) was ended by signal 9 (killed): ", h.PID())
		if !strings.HasPrefix(died.Error(), want) || !strings.Contains(died.Command(), d.Path+" --fd=3 ") {
			t.Errorf("Err() = %q, command %q; want %q…", died, died.Command(), want)
		}
		if left := group(t, h.PID()); len(left) > 0 {
			t.Errorf("processes %d are left", left)
		}
		stop(t, h)
		if h.Err() == nil {
			t.Error("a Stop after the death has forgotten it")
		}
	})
}

func TestDeathBehindTheSandboxIsNoticed(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		h, _ := startDaemon(t, d, Virtiofsd{})
		killed := 0
		for _, pid := range group(t, h.PID()) {
			if pid != h.PID() {
				killed++
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if killed == 0 {
			t.Fatal("the daemon has no process in its sandbox")
		}
		ended(t, h)
		if h.Err() == nil {
			t.Error("Err() = nil; want a death")
		}
	})
}

func TestStopLeavesNothing(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		dir := t.TempDir()
		h, _ := startDaemon(t, d, Virtiofsd{Dir: dir})
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s has %v while the daemon runs; want nothing", dir, left)
		}
		stop(t, h)
		if err := h.Err(); err != nil {
			t.Errorf("Err() after Stop = %v; want nil", err)
		}
		if left := group(t, h.PID()); len(left) > 0 {
			t.Errorf("processes %d are left", left)
		}
		stop(t, h)
	})
}

func TestDaemonsStartAtOnceInADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 60))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		const n = 4
		errs := make(chan error, n)
		for range n {
			go func() {
				h, conn, err := d.Start(t.Context(), Virtiofsd{Share: "src", Source: "/srv", Dir: dir})
				if err == nil {
					err = h.Stop(t.Context())
					conn.Close()
				}
				errs <- err
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	real := func(d *Daemon) *Daemon { return d }
	tests := []struct {
		name   string
		daemon func(*Daemon) *Daemon
		v      Virtiofsd
		want   string
		hint   string
	}{
		{"source is missing", real, Virtiofsd{Source: "/nonesuch"}, "virtiofsd of share src: stat /nonesuch: no such file or directory", ""},
		{"source is a file", real, Virtiofsd{Source: file}, "virtiofsd of share src: " + file + ": not a directory", ""},
		{"directory is missing", real, Virtiofsd{Dir: "/nonesuch"},
			"virtiofsd of share src: make its socket: open /nonesuch: no such file or directory", ""},
		{"unknown option", real, Virtiofsd{ExtraArgs: []string{"--nonesuch"}}, "nonesuch", "check virtiofsd.extraArgs"},
		{"not executable", func(*Daemon) *Daemon { return &Daemon{Path: file, Kind: Rust} }, Virtiofsd{},
			"start virtiofsd of share src: execute " + file + ": permission denied", "check that you may execute it"},
		{"exits", func(*Daemon) *Daemon { return script(t, "echo out of luck >&2; exit 7") }, Virtiofsd{},
			") ended with status 7: out of luck", ""},
		{"exits well", func(*Daemon) *Daemon { return script(t, "exit 0") }, Virtiofsd{}, ") ended with status 0", ""},
		{"hangs up", func(*Daemon) *Daemon { return script(t, "exec 3>&-; exec sleep 1000") }, Virtiofsd{},
			"start virtiofsd of share src: ", ""},
		{"is another program", func(*Daemon) *Daemon {
			return script(t, `exec python3 -c 'import socket; c = socket.socket(fileno=3).accept()[0]; c.sendall(b"HTTP/1.1 400 Bad Request\r\n"); c.recv(100); c.recv(100)'`)
		}, Virtiofsd{}, "start virtiofsd of share src: its answer 48 54 54 50", ""},
	}
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				v := tt.v
				v.Share = "src"
				if v.Source == "" {
					v.Source = "/srv"
				}
				if v.Dir == "" {
					v.Dir = t.TempDir()
				}
				h, _, err := tt.daemon(d).Start(t.Context(), v)
				if err == nil {
					stop(t, h)
					t.Fatal("Start() = nil; want an error")
				}
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Start() = %q; want …%s…", err, tt.want)
				}
				he := (*HostError)(nil)
				if errors.As(err, &he); tt.hint != "" && (he == nil || !strings.HasPrefix(he.Hint, tt.hint)) {
					t.Errorf("Start() = %#v; want the hint %q", err, tt.hint)
				}
				if left, _ := os.ReadDir(v.Dir); len(left) > 0 {
					t.Errorf("Start() left %v", left)
				}
			})
		}
	})
}

func TestStartOfASilentDaemonEndsWithItsContext(t *testing.T) {
	d := script(t, "echo thinking >&2; sleep 1000 & cd $(dirname $0); echo $! > new; mv new pid; wait")
	pidFile := filepath.Join(filepath.Dir(d.Path), "pid")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for _, err := os.Stat(pidFile); err != nil; _, err = os.Stat(pidFile) {
			time.Sleep(time.Millisecond)
		}
		cancel(errors.New("enough"))
	}()
	_, _, err := d.Start(ctx, Virtiofsd{Share: "src", Source: "/srv", Dir: t.TempDir()})
	if want := "start virtiofsd of share src: enough; it wrote: thinking"; err == nil || err.Error() != want {
		t.Errorf("Start() = %v; want %s", err, want)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		defer unix.Close(fd)
		gone(t, fd)
	}
}

// answer is a daemon that says what a virtiofsd says at first, and then goes on
// with the shell script that follows.
const answer = `python3 -c 'import socket; c = socket.socket(fileno=3).accept()[0]; c.recv(12); c.sendall(bytes([1,0,0,0,5,0,0,0,8,0,0,0]+8*[0]))'; `

func TestStubbornDaemonIsKilled(t *testing.T) {
	h, _ := startDaemon(t, script(t, answer+"trap '' TERM; echo deaf >&2; while :; do sleep 1; done"), Virtiofsd{})
	for !strings.Contains(h.Stderr(), "deaf") {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as if the two seconds were over
	if err := h.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if left := group(t, h.PID()); len(left) > 0 {
		t.Errorf("processes %d are left", left)
	}
}

func TestTalkativeDaemonIsReadAndForgotten(t *testing.T) {
	h, _ := startDaemon(t, script(t, answer+"yes 0123456789 | head -n 5000000 >&2; echo the end >&2"), Virtiofsd{})
	ended(t, h)
	got := h.Stderr()
	if len(got) > tailLimit+len("…") || !strings.HasPrefix(got, "…") || !strings.HasSuffix(got, "\nthe end\n") {
		t.Errorf("%d bytes are kept, from %.20q to %q; want the last %d", len(got), got, got[max(0, len(got)-20):], tailLimit)
	}
	if err := h.Err(); err == nil || !strings.HasSuffix(err.Error(), ": the end") {
		t.Errorf("Err() = %v; want the last line in it", err)
	}
}

func TestDaemonDiesWithItsSupervisor(t *testing.T) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	tests := map[string]*syscall.Credential{"root": nil, "nobody": nobody}
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		for name, as := range tests {
			t.Run(name, func(t *testing.T) {
				source := t.TempDir()
				if as != nil {
					source = publicDir(t, as)
				}
				cmd, pid := supervisor(t, d, source, as)
				var fds []int
				for _, p := range group(t, pid) {
					fds = append(fds, pidfd(t, p))
				}
				if len(fds) < 2 {
					t.Fatalf("the daemon has %d processes; want two", len(fds))
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				for _, fd := range fds {
					gone(t, fd)
				}
			})
		}
	})
}

// publicDir returns a directory of another user's that this user can reach.
func publicDir(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sidecar-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTwentyStartsLeakNothing(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *Daemon) {
		count := func() (fds, goroutines, threads int) {
			list, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			tasks, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Fatal(err)
			}
			return len(list), runtime.NumGoroutine(), len(tasks)
		}
		dir := t.TempDir()
		cycle := func() {
			// A read-only share of a daemon that cannot do it takes a thread
			// of its own, which must end, too.
			plain := *d
			plain.readOnly = false
			h, conn, err := plain.Start(t.Context(), Virtiofsd{Share: "src", Source: dir, Dir: dir, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			stop(t, h)
		}
		cycle()
		fds, goroutines, threads := count()
		for range 20 {
			cycle()
		}
		f, g, th := count()
		// The goroutine that closed Done, and its thread, take a moment to end.
		for range 1000 {
			if g <= goroutines && th <= threads+2 {
				break
			}
			time.Sleep(time.Millisecond)
			f, g, th = count()
		}
		if f != fds || g > goroutines || th > threads+2 {
			t.Errorf("after 20 starts: %d files, %d goroutines, %d threads; want %d, %d, about %d", f, g, th, fds, goroutines, threads)
		}
	})
}

func TestFindSaysWhatToInstall(t *testing.T) {
	_, err := FindVirtiofsd(t.Context(), "/nonesuch/virtiofsd")
	he := (*HostError)(nil)
	if !errors.As(err, &he) || !errors.Is(err, exec.ErrNotFound) || !strings.Contains(he.Hint, "install virtiofsd") {
		t.Errorf("FindVirtiofsd() = %#v; want a HostError that matches exec.ErrNotFound", err)
	}
	_, err = FindVirtiofsd(t.Context(), "/bin/true")
	if want := "recognise /bin/true: it is not a virtiofsd that is known"; err == nil || err.Error() != want {
		t.Errorf("FindVirtiofsd(/bin/true) = %v; want %s", err, want)
	}
	_, err = FindPasst("nonesuch-passt")
	if !errors.As(err, &he) || !errors.Is(err, exec.ErrNotFound) || he.Error() != "find nonesuch-passt: executable file not found in $PATH" {
		t.Errorf("FindPasst() = %v; want a HostError that matches exec.ErrNotFound", err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"bin", "libexec"} {
		want := filepath.Join(dir, sub, "virtiofsd")
		if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(want, []byte("#!/bin/sh\necho virtiofsd 1.13.2 --shared-dir --fd\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if d, err := FindVirtiofsd(t.Context(), dir); err != nil || d.Path != want {
			t.Errorf("FindVirtiofsd(package) = %v, %v; want %s", d, err, want)
		}
		os.Remove(want)
	}
}

func TestGreetReadsToTheLastByteOfTheAnswer(t *testing.T) {
	reply := []byte{1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	in := strings.NewReader(string(reply) + "more")
	conn := struct {
		io.Reader
		io.Writer
	}{in, io.Discard}
	if err := greetVhostUser(conn); err != nil || in.Len() != len("more") {
		t.Errorf("greetVhostUser() = %v with %d bytes unread; want 4", err, in.Len())
	}
}
