package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/mvmrun/mvm/vm/console"
)

// leaveKey is Ctrl-], telnet's and virsh's key to get out.
const leaveKey = 0x1d

// A screen is the place where a person looks: it shows messages and, for a
// while, a guest's console, and keeps the two from writing into each other.
type screen struct {
	env
	out, err *outlet

	mu    sync.Mutex  // held while one of them is written
	saved *term.State // of the terminal, while it is raw
	fd    int         // the terminal's
	line  bool        // an updating line is shown
}

func newScreen(e env) *screen {
	s := &screen{env: e, out: newOutlet(e.stdout), err: newOutlet(e.stderr)}
	s.err.ending.Store(true) // a message is never worth a machine's waiting
	return s
}

// terminal reports whether v is a file that is a terminal.
func terminal(v any) (fd int, ok bool) {
	f, isFile := v.(*os.File)
	if !isFile || f == nil {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// tell prints a message that stays. It is lost if nobody reads.
func (s *screen) tell(format string, args ...any) {
	if !s.err.room() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	text := "mvm: " + fmt.Sprintf(format, args...)
	if s.saved != nil {
		// The terminal is raw: it does not return the carriage by itself, and
		// the guest may have left the cursor anywhere.
		fmt.Fprintf(s.stderr, "\r%s\x1b[K\r\n", text)
		return
	}
	fmt.Fprintln(s.stderr, text)
}

// update shows text in a line that the next message replaces. It is for
// terminals only.
func (s *screen) update(text string) {
	if _, ok := terminal(s.stderr); !ok || !s.err.room() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.stderr, "\r%s\x1b[K", text)
	s.line = true
}

func (s *screen) clear() {
	if s.line {
		fmt.Fprint(s.stderr, "\r\x1b[K")
		s.line = false
	}
}

// console shows a guest's console until the guest ends, and types at it what is
// typed here. Leave is called for each Ctrl-], and closed if the output has no
// reader any more.
func (s *screen) console(hub *console.Hub, leave, closed func()) {
	s.out.ending.Store(false)
	var end sync.WaitGroup
	defer end.Wait()
	end.Go(func() {
		<-hub.Done()
		s.out.ending.Store(true)
	})
	keyboard, err := hub.Acquire()
	if err == nil {
		defer keyboard.Release()
	}
	out := hub.Attach(0)
	defer out.Close()
	err = s.attach(struct {
		io.Reader
		io.Writer
	}{out, hub}, leave)
	if errors.Is(err, unix.EPIPE) {
		closed()
	}
}

// attach is console for any console, until reading it or writing it out ends.
func (s *screen) attach(c io.ReadWriter, leave func()) error {
	in := interruptible(s.stdin)
	var typing sync.WaitGroup
	if s.enterRaw() {
		typing.Go(func() { typeAt(c, in, leave) })
	}
	_, err := io.Copy(consoleWriter{s}, c)
	in.Close()
	typing.Wait()
	s.close()
	return err
}

// enterRaw makes the terminal pass every key on. It reports false when there is
// none, or when it belongs to somebody else: a job in the background must not
// read it.
func (s *screen) enterRaw() bool {
	fd, ok := terminal(s.stdin)
	if !ok {
		return false
	}
	if _, ok := terminal(s.stdout); !ok {
		return false
	}
	if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err != nil || group != unix.Getpgrp() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	saved, err := term.MakeRaw(fd)
	if err != nil {
		return false
	}
	s.saved, s.fd = saved, fd
	return true
}

// close gives the terminal back. It may be called more than once.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if s.saved != nil {
		_ = term.Restore(s.fd, s.saved)
		s.saved = nil
		// A guest may have left colours on or the cursor hidden.
		fmt.Fprint(s.stderr, "\x1b[0m\x1b[?25h\r\n")
	}
}

// typeAt passes keys to the guest until in ends.
func typeAt(hub io.Writer, in io.Reader, leave func()) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		keys := buf[:n]
		for i := bytes.IndexByte(keys, leaveKey); i >= 0; i = bytes.IndexByte(keys, leaveKey) {
			_, _ = hub.Write(keys[:i])
			leave()
			keys = keys[i+1:]
		}
		if len(keys) > 0 {
			if _, werr := hub.Write(keys); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// consoleWriter writes the console between two messages, never into one. It does
// not keep messages waiting while it waits.
type consoleWriter struct{ s *screen }

func (w consoleWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if !w.s.out.room() {
			return n, errStuck
		}
		m, err := w.write(p[n:min(n+roomSize, len(p))])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w consoleWriter) write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.clear()
	return w.s.stdout.Write(p)
}
