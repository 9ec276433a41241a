package test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

// Boot boots the machine that the file describes on a host of its own and returns
// when its guest is ready. The machine is stopped when the test ends.
func Boot(t testing.TB, definition string) *VM {
	t.Helper()
	v := NewHost(t).Start(definition)
	v.WaitReady()
	return v
}

// A VM is a machine that was started. Its methods fail the test when they cannot
// do what they say.
type VM struct {
	// Name is the machine's name: that of its definition's file.
	Name string

	h      *Host
	cmd    *exec.Cmd
	stdout output
	stderr output
	done   chan struct{} // closed when mvm has ended
	late   atomic.Bool   // it was killed, because Limit was over
	err    error         // set before done is closed
}

// Start runs "mvm run DEFINITION ARG..." and does not wait for anything. With
// arguments ("--" and a command) the guest is powered off when the command has
// ended. Standard input is empty.
func (h *Host) Start(definition string, arg ...string) *VM {
	h.t.Helper()
	v := &VM{
		Name: strings.TrimSuffix(filepath.Base(definition), filepath.Ext(definition)),
		h:    h, done: make(chan struct{}),
	}
	v.cmd = exec.Command(Program, append([]string{"run", definition}, arg...)...)
	h.prepare(v.cmd)
	v.cmd.Stdout, v.cmd.Stderr = &v.stdout, &v.stderr
	if err := v.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	limit := time.AfterFunc(h.limit(), func() {
		v.late.Store(true)
		_ = v.cmd.Process.Kill()
	})
	go func() { // ends with mvm
		v.err = v.cmd.Wait()
		limit.Stop()
		close(v.done)
	}()
	h.t.Cleanup(v.cleanUp)
	return v
}

func (v *VM) cleanUp() {
	select {
	case <-v.done:
	default:
		_ = v.cmd.Process.Signal(os.Interrupt)
		_ = v.cmd.Process.Signal(os.Interrupt) // a second one skips what is slow
	}
	e := v.Wait()
	if v.h.t.Failed() || testing.Verbose() {
		v.h.t.Logf("mvm run %s ended with %d; it said:\n%s\nconsole:\n%s", v.Name, e.Code, tail(e.Stderr), tail(v.Console()))
	}
}

// PID is mvm's process id.
func (v *VM) PID() int { return v.cmd.Process.Pid }

// Signal sends mvm a signal.
func (v *VM) Signal(sig os.Signal) {
	v.h.t.Helper()
	if err := v.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		v.h.t.Fatal(err)
	}
}

// WaitReady returns when the guest is ready.
func (v *VM) WaitReady() {
	v.h.t.Helper()
	v.Await(": ready after ")
}

// Reaches reports whether mvm writes text on standard error before it ends. It
// returns as soon as that is known.
func (v *VM) Reaches(text string) bool { return v.stderr.await(text, v.done) }

// Await returns when mvm has written text on standard error.
func (v *VM) Await(text string) {
	v.h.t.Helper()
	if !v.stderr.await(text, v.done) {
		v.h.t.Fatalf("%s ended without %q", v.Name, text)
	}
}

// AwaitOutput returns when mvm has written text on standard output, which is the
// guest's console unless a command was given.
func (v *VM) AwaitOutput(text string) {
	v.h.t.Helper()
	if !v.stdout.await(text, v.done) {
		v.h.t.Fatalf("%s ended without %q on its standard output", v.Name, text)
	}
}

// Wait returns when mvm has ended.
func (v *VM) Wait() Ended {
	v.h.t.Helper()
	<-v.done
	if v.late.Load() {
		v.h.t.Errorf("%s did not end within %v", v.Name, v.h.limit())
	}
	if exit := (*exec.ExitError)(nil); v.err != nil && !errors.As(v.err, &exit) {
		v.h.t.Errorf("mvm run %s: %v", v.Name, v.err)
	}
	return Ended{Code: v.cmd.ProcessState.ExitCode(), Stdout: v.stdout.String(), Stderr: v.stderr.String()}
}

// Stop stops the machine as another terminal would, and waits for its end.
func (v *VM) Stop() Ended {
	v.h.t.Helper()
	if e := v.h.Mvm("stop", v.Name); e.Code != 0 {
		v.h.t.Errorf("mvm stop %s = %d; want 0\n%s", v.Name, e.Code, e.Stderr)
	}
	return v.Wait()
}

// Command returns "mvm exec" for a command in the guest, to be run by the caller.
func (v *VM) Command(arg ...string) *exec.Cmd {
	return v.h.Command(append([]string{"exec", v.Name, "--"}, arg...)...)
}

// Exec runs a command in the guest, which must succeed, and returns its output.
func (v *VM) Exec(arg ...string) string {
	v.h.t.Helper()
	e := v.h.Mvm(append([]string{"exec", v.Name, "--"}, arg...)...)
	if e.Code != 0 {
		v.h.t.Fatalf("%s in the guest = %d; want 0\n%s", strings.Join(arg, " "), e.Code, e.Stderr)
	}
	return e.Stdout
}

// Console is what the guest wrote on its console so far, as far as it is kept.
func (v *VM) Console() string {
	b, err := os.ReadFile(v.h.dirs.Machine(v.Name).ConsoleLog())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.h.t.Errorf("console of %s: %v", v.Name, err)
	}
	return string(b)
}

// Status is the machine as "mvm ps" shows it. It must be running.
func (v *VM) Status() control.Status {
	v.h.t.Helper()
	for _, s := range v.h.Running() {
		if s.Name == v.Name {
			return s
		}
	}
	v.h.t.Fatalf("mvm ps does not list %s", v.Name)
	return control.Status{}
}

// Running lists the machines that run on this host, as "mvm ps" does.
func (h *Host) Running() []control.Status {
	h.t.Helper()
	e := h.Mvm("ps", "--json")
	var list []control.Status
	if err := json.Unmarshal([]byte(e.Stdout), &list); err != nil || e.Code != 0 {
		h.t.Fatalf("mvm ps --json = %d, %v\n%s%s", e.Code, err, e.Stdout, e.Stderr)
	}
	return list
}
