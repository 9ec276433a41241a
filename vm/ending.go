package vm

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm/control"
)

// facts are what was seen of a machine from its start to its end. Judging them
// is pure, so every end that a machine can come to is a row in a test.
type facts struct {
	failed      *handoff.Failed // the guest's own word that it cannot boot
	ready       bool
	commandDone bool
	status      *int   // the guest's exit status
	panicked    bool   // QEMU said so
	reason      string // of QEMU's SHUTDOWN event, or ""
	stopWhy     string // why it was asked to stop, or ""
	killAsked   bool   // and that not gently
	tried       []climbed
	timeout     time.Duration // the ready limit that was exceeded, or 0
	mismatch    string        // how the guest's mounts differ from the plan
	agentErr    error         // the guest's agent broke the protocol
	helperErr   error         // a helper ended before QEMU did
	monitorErr  error         // QEMU does not do what it is told
	commandErr  error         // the command was lost on the way
	outputErr   error         // what the command wrote could not be written here
	commandText string        // why the guest could not execute the command, or ""
	qemuErr     error         // QEMU's exit, if not clean
	qemuHint    string
	console     []byte // the end of the console
	stderr      []byte // the end of QEMU's standard error
	events      string // QEMU's last
	helpers     string // what they wrote last
	memory      string // that the kernel has killed for want of it, or ""
	starved     bool   // and QEMU is what it has killed, as far as one can tell
}

// Rungs that force a machine, as opposed to asking it.
const (
	rungSelf   = "guest" // one that ends by itself
	rungAgent  = "agent"
	rungButton = "power button"
	rungKeys   = "Ctrl-Alt-Del"
	rungQuit   = "qmp quit"
	rungTerm   = "SIGTERM"
	rungKill   = "SIGKILL"
)

// trying says to a person what a rung does.
var trying = map[string]string{
	rungSelf:   "waiting for the guest to power itself off",
	rungAgent:  "asking the guest to power off",
	rungButton: "pressing the guest's power button",
	rungKeys:   "pressing Ctrl-Alt-Del in the guest",
	rungQuit:   "telling QEMU to quit",
	rungTerm:   "sending SIGTERM to QEMU",
	rungKill:   "killing QEMU",
}

func forces(rung string) bool {
	return rung == rungQuit || rung == rungTerm || rung == rungKill
}

// judge says how the machine ended.
func (f *facts) judge() control.Exit {
	e := control.Exit{Status: f.status}
	if n := len(f.tried); n > 0 {
		e.Rung = f.tried[n-1].rung
	}
	f.reasonOf(&e)
	f.wantOfMemory(&e)
	if e.Detail != "" {
		e.Evidence.Console = string(f.console)
		e.Evidence.QEMU = string(f.stderr)
		e.Evidence.Events = f.events
		e.Evidence.Helpers = f.helpers
		e.Evidence.Memory = f.memory
	}
	return e
}

func (f *facts) reasonOf(e *control.Exit) {
	panicText, panicked := panicMessage(f.console)
	switch {
	case f.failed != nil:
		e.Reason = control.GuestFailed
		e.Detail = "guest: " + harmless([]byte(f.failed.Op+": "+f.failed.Err))
		e.Hint = failedHint(f.failed)
		e.Evidence.Guest = f.failed.Detail
	case f.panicked, panicked && f.reason != "guest-shutdown" && f.stopWhy == "":
		e.Reason = control.GuestPanic
		e.Detail = "guest: kernel panic"
		if panicText != "" {
			e.Detail += ": " + panicText
		}
		e.Hint = panicHint(panicText)
	case f.mismatch != "":
		e.Reason = control.GuestFailed
		e.Detail = "guest: " + f.mismatch
	case f.helperErr != nil:
		e.Reason = control.HelperDied
		e.Detail = f.helperErr.Error()
	case f.monitorErr != nil:
		e.Reason = control.QEMUError
		e.Detail = f.monitorErr.Error()
	case f.timeout > 0:
		e.Reason = control.ReadyTimeout
		e.Detail = fmt.Sprintf("the guest was not ready within %v", roughly(f.timeout))
		e.Hint = "look at the console for where it stopped, or raise readyTimeout"
	case f.commandErr != nil && (f.qemuErr == nil || len(f.tried) > 0): // else QEMU took it along
		e.Reason = control.GuestFailed
		e.Detail = "guest: " + f.commandErr.Error()
	case f.outputErr != nil && f.qemuErr == nil:
		e.Reason = control.Stopped
		e.Detail = f.outputErr.Error()
	case f.commandText != "":
		e.Reason = control.GuestPoweroff
		e.Detail = "guest: " + f.commandText
	case f.stopWhy != "" && (f.qemuErr == nil || len(f.tried) > 0):
		e.Reason = control.Stopped
		switch {
		case f.killAsked:
			e.Reason = control.Killed // and that was wanted
		case forces(e.Rung) && f.ready && !f.endedItself(): // else it did, and mvm was faster
			e.Reason = control.Killed
			e.Detail = fmt.Sprintf("the guest did not power off when asked to; %s ended it", e.Rung)
			e.Hint = "raise stopTimeout if it only needs longer"
		}
	case f.starved:
		e.Reason = control.HostMemory
		e.Detail = "the host ran out of memory and killed QEMU"
		e.Hint = "give the guest less (mem), or the host or its control group more"
	case f.qemuErr != nil:
		e.Reason = control.QEMUError
		e.Detail = f.qemuErr.Error()
		e.Hint = f.qemuHint
	case f.reason == "guest-reset" && f.ready && f.speechless():
		e.Reason = control.GuestPanic
		e.Detail = "guest: it was reset without a word from its kernel, as by a triple fault"
		e.Hint = "look at the console for the last that it did"
	case f.reason == "guest-reset":
		e.Reason = control.GuestReboot
		f.beforeReady(e)
	case f.reason == "guest-shutdown", f.reason == "":
		e.Reason = control.GuestPoweroff
		f.beforeReady(e)
	default:
		e.Reason = control.QEMUError
		e.Detail = "somebody else ended QEMU (" + f.reason + ")"
	}
}

// wantOfMemory names a guest's want of memory as what is behind its end, if that
// is how a program ends that was killed.
func (f *facts) wantOfMemory(e *control.Exit) {
	victim := oomVictim(f.console)
	switch {
	case victim == "":
	case e.Reason == control.GuestPanic, e.Reason == control.GuestFailed:
		e.Hint = raiseMem
	case e.Reason == control.GuestPoweroff && e.Detail == "" && e.Status != nil && *e.Status == 128+9:
		e.Detail = "guest: out of memory: its kernel killed " + victim
		e.Hint = raiseMem
	}
}

// endedItself reports whether the guest has come to an end of its own making. One
// that is told Ctrl-Alt-Del reboots.
func (f *facts) endedItself() bool { return f.reason == "guest-shutdown" || f.reason == "guest-reset" }

var kernelStamp = regexp.MustCompile(`(?m)^\[ *[0-9]+\.[0-9]{6}\] `)

// speechless reports whether the guest's kernel, which writes to the console,
// has not written that it restarts. It does so at its highest level, whatever it
// was told to keep to itself; a restart by the SysRq key has a line of its own.
func (f *facts) speechless() bool {
	return kernelStamp.Match(f.console) &&
		!bytes.Contains(f.console, []byte("Restarting system")) && !bytes.Contains(f.console, []byte("sysrq: Resetting"))
}

// beforeReady turns an end that looks ordinary into a failure when the guest
// never got as far as init.
func (f *facts) beforeReady(e *control.Exit) {
	if f.ready {
		return
	}
	e.Detail = fmt.Sprintf("the guest ended (%s) before it was ready", e.Reason)
	e.Reason = control.GuestFailed
	e.Hint = "look at the console for the reason"
	if f.agentErr != nil {
		e.Detail += "; its agent: " + f.agentErr.Error()
	}
}

var panicLine = regexp.MustCompile(`Kernel panic - not syncing: ([^\r\n]*)`)

// panicMessage finds the last panic of the guest's kernel on its console.
func panicMessage(console []byte) (string, bool) {
	i := bytes.LastIndex(console, []byte("Kernel panic - not syncing:"))
	if i < 0 {
		return "", false
	}
	m := panicLine.FindSubmatch(console[i:])
	if m == nil {
		return "", true
	}
	return harmless(m[1]), true
}

// raiseMem is for a guest that has run out of memory.
const raiseMem = "raise mem, or look at the console for what used it up"

var oomLine = regexp.MustCompile(`Out of memory: Killed process [0-9]+ \(([^)\r\n]*)\)`)

// oomVictim is the program that the guest's kernel killed last for want of memory,
// or "".
func oomVictim(console []byte) string {
	all := oomLine.FindAllSubmatch(console, -1)
	if all == nil {
		return ""
	}
	return harmless(all[len(all)-1][1])
}

var initExit = regexp.MustCompile(`Attempted to kill init! exitcode=0x([0-9a-f]{8})`)

func panicHint(text string) string {
	if strings.Contains(text, "emory") { // "Out of memory: …", "System is deadlocked on memory"
		return raiseMem
	}
	m := initExit.FindStringSubmatch(text)
	if m == nil {
		return "look at the console for the kernel's stack"
	}
	code, _ := strconv.ParseUint(m[1], 16, 32) // eight hexadecimal digits always parse
	if sig := code & 0x7f; sig != 0 {
		return fmt.Sprintf("init was killed by signal %d; look at the console for why", sig)
	}
	return fmt.Sprintf("init exited with status %d, and process 1 must not exit: let it end with %s %d",
		code>>8&0xff, handoff.PoweroffPath, code>>8&0xff)
}

// storeDiskMount is what mvm-init does when it mounts a store disk: a share of the
// store has another type, and a volume another place.
var storeDiskMount = regexp.MustCompile(`^mount (erofs|squashfs|ext4|btrfs) on /nix/(store|\.ro-store)$`)

func failedHint(f *handoff.Failed) string {
	switch {
	case strings.HasPrefix(f.Op, "execute "):
		return "check init in the definition: it must be a program of the closure"
	case storeDiskMount.MatchString(f.Op):
		return "the store disk may be damaged: mvm store verify finds out and rebuilds it"
	case strings.HasPrefix(f.Op, "boot through "):
		return "look at the console for the unit that failed"
	}
	return ""
}

// harmless is a guest's text without what a terminal would act on, and without
// lines that could be taken for mvm's own: all but the first are indented.
func harmless(b []byte) string {
	text := strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return printable(r)
	}, strings.ToValidUTF8(string(b), "?"))
	return strings.ReplaceAll(text, "\n", "\n  ")
}
