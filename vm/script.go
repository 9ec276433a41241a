package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxScript is the longest argument of a program: MAX_ARG_STRLEN is 128 KiB
	// with the closing NUL.
	maxScript = 128<<10 - 1

	// maxScriptNotes bounds what a script may say: the journal keeps it for as
	// long as the machine runs.
	maxScriptNotes = 200

	// maxScriptLine is where a line of a script's output is cut.
	maxScriptLine = 1 << 10

	// scriptLingering is how long a script's output may stay open after its
	// end: only a process that has left the script's group holds it then.
	scriptLingering = time.Second
)

// A script is a piece of shell from a definition.
type script struct {
	key  string // of the definition
	text string
	dir  string // its working directory
}

// run has /bin/sh carry the script out, and ends at its first command that
// fails. What it leaves running in its process group is killed with its end, and
// all of it when ctx ends. What it writes to standard error goes to say, line by
// line, and what it writes to standard output to out. The error is a [HostError]
// with its exit status and its last words.
func (x *script) run(ctx context.Context, out io.Writer, say func(line string)) error {
	errs := &lineWriter{say: say}
	if out == nil {
		out = errs
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-e", "-c", x.text, x.key)
	cmd.Dir, cmd.Stdout, cmd.Stderr = x.dir, out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = scriptLingering
	ended := make(chan error)
	go func() { // ends with the script, which is waited for below
		// The parent-death signal comes when this thread ends
		// (go.dev/issue/27505).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		ended <- runGroup(cmd)
	}()
	err := <-ended
	errs.flush()
	if err == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if last := errs.last(); last != "" {
		err = fmt.Errorf("%w; it said last:\n%s", err, last)
	}
	return &HostError{Op: x.key, Err: err, Hint: "run it by hand in " + x.dir + ": sh -e"}
}

// runGroup runs cmd, the first of its group, and takes down the group with it.
func runGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	// Until it is reaped its id, which is the group's, belongs to nobody else.
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	_ = unix.Kill(-pid, unix.SIGKILL) // it fails if nothing is left
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // somebody outside the group still writes, to nobody
	}
	return err
}

// A lineWriter says what is written to it line by line, up to a limit, and keeps
// the last lines.
type lineWriter struct {
	say func(string)

	mu    sync.Mutex
	part  []byte
	said  int
	lines []string // the last ones
}

// lastWords is how many lines of a script's output an error has.
const lastWords = 5

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	for {
		line, rest, found := bytes.Cut(b, []byte("\n"))
		if room := maxScriptLine - len(w.part); room > 0 {
			w.part = append(w.part, line[:min(room, len(line))]...)
		}
		if !found {
			return n, nil
		}
		w.end()
		b = rest
	}
}

// flush says a last line that has no end.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.end()
	}
}

// end is called at the end of a line.
func (w *lineWriter) end() {
	line := harmless(w.part)
	w.part = w.part[:0]
	w.lines = append(w.lines, line)
	if len(w.lines) > lastWords {
		w.lines = append(w.lines[:0], w.lines[1:]...)
	}
	switch w.said++; {
	case w.said < maxScriptNotes:
		w.say(line)
	case w.said == maxScriptNotes:
		w.say("(and more, which is not shown)")
	}
}

func (w *lineWriter) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.lines, "\n")
}
