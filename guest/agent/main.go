package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/growfs"
	"github.com/mvmrun/mvm/guest/kmsg"
	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// ProcessName is the agent's argv[0], by which mvm-init knows what it is to be.
const ProcessName = "@mvm-agent"

// File descriptors that process 1 leaves to the agent.
const (
	portFD   = 3
	pipeFD   = 4
	socketFD = 5
)

// An Inheritance is what process 1 tells the agent, as a line of JSON each:
// once before it executes init, and once more if that failed.
type Inheritance struct {
	Hello   bool             `json:"hello"` // the host has had the first frame
	Timings map[string]int64 `json:"timings,omitempty"`
	Failed  *handoff.Failed  `json:"failed,omitempty"`

	// System is the directory of init, where a system has its programs in
	// sw/bin.
	System string `json:"system,omitempty"`

	// Notes are for [handoff.Ready].
	Notes []string `json:"notes,omitempty"`

	// Initrd says that process 1 is still that of the guest's own initrd.
	// Plan is then what that mounts.
	Initrd bool        `json:"initrd,omitempty"`
	Plan   mounts.Plan `json:"plan,omitzero"`
}

// Main is the agent's process. It returns only when there is nothing left to
// do: init could not be executed, and the host was told.
func Main(uptime func() int64) error {
	outlive()
	debug.SetMemoryLimit(64 << 20)
	if err := os.Chdir("/"); err != nil {
		return err
	}
	heir, err := inherit(os.NewFile(pipeFD, "pipe"))
	if err != nil {
		return err
	}
	if heir.Failed != nil {
		return SendFailed(portFD, heir.Hello, *heir.Failed)
	}
	if heir.Initrd {
		if err := follow(); err != nil {
			return giveUp(heir.Hello, err)
		}
		heir.Notes = grow(heir.Plan)
	}
	if err := loadDatabase(heir.System); err != nil {
		kmsg.Print(kmsg.Critical, "the guest's Nix database is not loaded: %v", err)
	}

	if heir.Timings == nil {
		heir.Timings = make(map[string]int64)
	}
	heir.Timings["ready"] = uptime()
	// Set here and not trusted to be inherited: see guest.openPort.
	if err := unix.SetNonblock(portFD, true); err != nil {
		return err
	}
	unix.CloseOnExec(portFD)
	a := &Agent{
		Ready: func() handoff.Ready {
			// Not our own: what init mounts in a name space of its own is init's view.
			info, _ := os.ReadFile("/proc/1/mountinfo")
			return handoff.Ready{MountInfo: truncate(string(info)), Timings: heir.Timings, Notes: heir.Notes}
		},
		PowerOff: End,
		Log:      func(s string) { kmsg.Print(kmsg.Notice, "agent: %s", s) },
	}
	unix.CloseOnExec(socketFD)
	// A program that asks before the host is there to hear it waits in the
	// socket's queue.
	a.Started = func() { go a.answer(socketFD) } // ends with the process
	return a.serveForever(newPort(portFD), heir.Hello)
}

// grow grows the file systems of a plan that systemd has mounted.
func grow(plan mounts.Plan) []string {
	text, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	all, err := mounts.ParseMountInfo(string(text))
	if err != nil {
		return []string{err.Error()}
	}
	return growfs.All(plan, all)
}

// giveUp tells the host that the guest's own initrd does not get to init, and
// powers the guest off.
func giveUp(hello bool, err error) error {
	m := handoff.Failed{Op: "boot through the guest's own initrd", Err: err.Error()}
	kmsg.Print(kmsg.Critical, "cannot boot, powering off: %s: %s", m.Op, m.Err)
	err = SendFailed(portFD, hello, m)
	now(false)
	return err
}

// outlive makes this process deaf to signals that are meant for everybody
// ("kill -1"), and a closed pipe an error to handle. They are caught and not
// ignored: what is ignored stays so in the commands that are started.
func outlive() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
}

// inherit reads the pipe to its end, which is the moment when init is executed.
func inherit(pipe *os.File) (Inheritance, error) {
	defer pipe.Close()
	var heir Inheritance
	d := json.NewDecoder(pipe)
	for {
		// Decoding the second message over the first keeps what it leaves out.
		switch err := d.Decode(&heir); {
		case errors.Is(err, io.EOF):
			return heir, nil
		case err != nil:
			return heir, fmt.Errorf("read from process 1: %w", err)
		}
	}
}

// truncate keeps a mount report within a frame, JSON's escapes included.
func truncate(s string) string {
	const max = handoff.MaxPayload / 2
	if len(s) > max {
		return s[:max]
	}
	return s
}

// SendFailed tells the host that the guest does not boot, after the hello if
// that was not said. It uses the port in blocking mode: such a write returns
// when QEMU has taken the bytes, so that powering off cannot lose them.
func SendFailed(port int, hello bool, m handoff.Failed) error {
	if err := unix.SetNonblock(port, false); err != nil {
		return err
	}
	var b []byte
	if !hello {
		f, err := Hello()
		if err != nil {
			return err
		}
		b = handoff.AppendFrame(b, f)
	}
	f, err := handoff.JSON(handoff.KindFailed, 0, m)
	if err != nil {
		return err
	}
	for b = handoff.AppendFrame(b, f); len(b) > 0; {
		n, err := unix.Write(port, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

// Hello returns the first frame of the channel.
func Hello() (handoff.Frame, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return handoff.Frame{}, err
	}
	return handoff.JSON(handoff.KindHello, 0, handoff.Hello{
		Version: handoff.Version,
		Kernel:  unix.ByteSliceToString(u.Release[:]),
	})
}
