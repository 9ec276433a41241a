package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of going down.
const (
	// initLimit is how long a known init may take. systemd gives each unit
	// 90 s; the host has shorter limits and harder ways of its own.
	initLimit = 120 * time.Second

	// termLimit is for the processes of a guest whose init is not known.
	termLimit = 2 * time.Second

	// handlerLimit is for an init that was executed a moment ago and listens
	// to no signal yet.
	handlerLimit = 5 * time.Second
)

// An initSystem is an init that goes down properly when it gets a signal.
type initSystem struct{ off, reboot syscall.Signal }

// End ends the guest. An init that is known to do it is asked to, and
// given initLimit; what is then still there ends as with an init that is not
// known: see [now].
func End(reboot bool) {
	exe, _ := os.Readlink("/proc/1/exe")
	cmdline, _ := os.ReadFile("/proc/1/cmdline")
	if known, ok := recognise(exe, cmdline); ok && os.Getpid() != 1 {
		sig := known.off
		if reboot {
			sig = known.reboot
		}
		if awaitHandler(sig, handlerLimit) && unix.Kill(1, sig) == nil {
			time.Sleep(initLimit)
		}
	}
	now(reboot)
}

// awaitHandler waits until process 1 catches a signal, or has blocked it to take
// it later. Until then the kernel drops the signal: process 1 is spared what it
// does not ask for. Nothing tells when that changes, so it is looked at.
func awaitHandler(sig syscall.Signal, limit time.Duration) bool {
	const pause = 20 * time.Millisecond
	for range limit / pause {
		status, err := os.ReadFile("/proc/1/status")
		if err != nil || hears(status, sig) {
			return true
		}
		time.Sleep(pause)
	}
	return false
}

// hears reports whether a process with this proc_pid_status(5) blocks or catches
// a signal.
func hears(status []byte, sig syscall.Signal) bool {
	for line := range bytes.Lines(status) {
		name, mask, ok := bytes.Cut(line, []byte(":\t"))
		if !ok || string(name) != "SigBlk" && string(name) != "SigCgt" {
			continue
		}
		bits, err := strconv.ParseUint(string(bytes.TrimSpace(mask)), 16, 64)
		if err == nil && bits&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}

// recognise tells an init by its program and its command line.
//
//   - systemd(1) under SIGNALS: SIGRTMIN+4 powers off, SIGRTMIN+5 reboots. glibc's
//     SIGRTMIN is the kernel's 34.
//   - busybox's init: SIGUSR2 powers off, SIGTERM reboots (init/init.c). Any
//     other applet as process 1 is not an init.
func recognise(exe string, cmdline []byte) (initSystem, bool) {
	argv0, _, _ := bytes.Cut(cmdline, []byte{0})
	name := filepath.Base(string(argv0))
	switch base := strings.TrimSuffix(filepath.Base(exe), " (deleted)"); {
	case base == "systemd":
		return initSystem{off: 34 + 4, reboot: 34 + 5}, true
	case strings.HasPrefix(base, "busybox") && (name == "init" || name == "linuxrc" || name == "-init"):
		return initSystem{off: unix.SIGUSR2, reboot: unix.SIGTERM}, true
	}
	return initSystem{}, false
}

// now ends the guest without its init: every process is asked to end and
// then killed, the disks are written out and made read-only, and the machine
// goes. It returns only if the machine cannot be powered off.
//
// Process 1 is held still meanwhile. It may be a shell script that waits for
// one of the processes, and would end when that ends; the kernel would panic,
// and the host would see a crash where it asked for an end.
func now(reboot bool) {
	if os.Getpid() != 1 {
		hold()
	}
	_ = unix.Kill(-1, unix.SIGTERM) // everything but process 1 and us
	awaitOthers(termLimit)
	_ = unix.Kill(-1, unix.SIGKILL)
	unix.Sync()
	readOnlyDisks()
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if reboot {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	_ = unix.Reboot(how)
}

// hold stops process 1 where it is. Signals do not: process 1 is immune to
// SIGSTOP. A tracer can, and the stop lasts as long as the tracing thread,
// which is why that stays.
func hold() {
	held := make(chan struct{})
	go func() { // ends with the guest
		runtime.LockOSThread()
		trace(1)
		close(held)
		select {}
	}()
	select {
	case <-held:
	case <-time.After(time.Second): // it sleeps in the kernel: it does nothing anyway
	}
}

// trace stops a process, from a thread that is to stay its tracer. It is best
// effort: a process that cannot be held is one that may end early.
func trace(pid int) {
	if unix.PtraceSeize(pid) != nil || unix.PtraceInterrupt(pid) != nil {
		return
	}
	_ = retry(func() error {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		return err
	})
}

// awaitOthers waits until no process but process 1, the kernel's threads and
// this one is left, or until the limit.
func awaitOthers(limit time.Duration) {
	until := time.Now().Add(limit)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, ok := process(e.Name())
		if !ok || pid == 1 || pid == os.Getpid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		left := max(time.Until(until), 0)
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		unix.Close(fd)
	}
}

// process reads a name in /proc as the pid of a process that has a program:
// the kernel's threads have none.
func process(name string) (pid int, ok bool) {
	for _, c := range name {
		if c < '0' || c > '9' {
			return 0, false
		}
		pid = pid*10 + int(c-'0')
	}
	_, err := os.Readlink("/proc/" + name + "/exe")
	return pid, err == nil
}

// readOnlyDisks makes what is on block devices read-only, so that no file
// system needs a check at its next mount. Best effort: one that is busy with
// a file open for writing stays as it is, synced.
func readOnlyDisks() {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 4 && strings.HasPrefix(f[0], "/dev/") {
			_ = unix.Mount("", strings.ReplaceAll(f[1], `\040`, " "), "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
}
