package sidecar

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A HostError is something that this host lacks. It says what was attempted,
// why that failed, and what the reader can do about it. Its Err matches
// [exec.ErrNotFound] when a program is not installed.
type HostError struct {
	Op   string // what was tried: "find virtiofsd"
	Err  error  // why it failed
	Hint string // one thing to do, as an imperative sentence
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// A Died is the end of a helper that nobody asked to end.
type Died struct {
	Name   string         // what it did: "virtiofsd of share src"
	Argv   []string       // how it was started
	PID    int            // what its process was
	Code   int            // its exit status, or -1 after a signal
	Signal syscall.Signal // 0 without a signal
	Stderr string         // the last of what it wrote, may be empty
}

func (e *Died) Error() string {
	how := fmt.Sprintf("%s (process %d) ended with status %d", e.Name, e.PID, e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("%s (process %d) was ended by signal %d (%v)", e.Name, e.PID, int(e.Signal), e.Signal)
	}
	if line := telling(e.Stderr); line != "" {
		how += ": " + line
	}
	return how
}

// Command returns the command line, quoted so that it is one to a reader.
func (e *Died) Command() string {
	var words []string
	for _, a := range e.Argv {
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$`*?[]{}()<>|&;#~!") {
			a = strconv.Quote(a)
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// died returns how the process ended.
func died(name string, argv []string, s *os.ProcessState, stderr string) *Died {
	d := &Died{Name: name, Argv: argv, PID: s.Pid(), Code: s.ExitCode(), Stderr: stderr}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		d.Signal = ws.Signal()
	}
	return d
}

// telling returns the line of s that says most: the first that calls itself an
// error, or else the last.
func telling(s string) string {
	last := ""
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
		if strings.Contains(strings.ToLower(line), "error") {
			break
		}
	}
	return last
}
