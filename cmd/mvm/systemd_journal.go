package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Levels of the journal: syslog(3)'s.
const (
	levelCritical = 2
	levelError    = 3
	levelWarning  = 4
	levelNotice   = 5
	levelInfo     = 6
)

// longestLine is where a line is cut. The journal's own limit is 48 KiB.
const longestLine = 8 << 10

// A journal is an output that is the systemd journal. Each line gets its level
// in front, so that nothing a guest writes can pass for one: the journal shows
// an emergency on every terminal of the host. What would steer a terminal is
// left out, because the journal hides lines that have it.
type journal struct {
	file  *os.File
	level func(line []byte) int // of a line without its end

	mu   sync.Mutex
	line []byte
	skip escape
}

// journaled returns f as a journal if it is the journal's end of a unit's
// output, else f itself. The journal says which file it is: see systemd.exec(5)
// on JOURNAL_STREAM.
func journaled(f *os.File, stream string, level func([]byte) int) io.Writer {
	var st unix.Stat_t
	if stream == "" || unix.Fstat(int(f.Fd()), &st) != nil || fmt.Sprintf("%d:%d", st.Dev, st.Ino) != stream {
		return f
	}
	return &journal{file: f, level: level}
}

// Fd is whom an outlet waits for.
func (j *journal) Fd() uintptr { return j.file.Fd() }

// Write passes whole lines on and keeps the rest.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []byte
	for _, b := range p {
		switch {
		case j.skip.skips(b), b < ' ' && b != '\n' && b != '\t', b == 0x7f:
		case b == '\n':
			out = j.flush(out)
		default:
			if j.line = append(j.line, b); len(j.line) == longestLine {
				out = j.flush(out)
			}
		}
	}
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := j.file.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flushJournal passes on what is left in w, if it is a journal: a last line without an
// end.
func flushJournal(w io.Writer) {
	j, ok := w.(*journal)
	if !ok {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if out := j.flush(nil); len(out) > 0 {
		_, _ = j.file.Write(out)
	}
}

func (j *journal) flush(out []byte) []byte {
	if len(bytes.TrimSpace(j.line)) > 0 {
		out = fmt.Appendf(out, "<%d>%s\n", j.level(j.line), j.line)
	}
	j.line = j.line[:0]
	return out
}

// An escape follows a terminal's control sequences (ECMA-48) through a stream.
type escape byte

const (
	escapeNone   escape = iota
	escapeBegun         // after ESC
	escapeParams        // after ESC [, until its final byte
	escapeString        // after ESC ], until BEL or ESC
)

// skips reports whether b belongs to a control sequence.
func (e *escape) skips(b byte) bool {
	switch {
	case b == '\n':
		*e = escapeNone // whatever was begun, a line ends here
		return false
	case b == 0x1b:
		*e = escapeBegun
	case *e == escapeBegun && b == '[':
		*e = escapeParams
	case *e == escapeBegun && (b == ']' || b == 'P'):
		*e = escapeString
	case *e == escapeBegun && b >= 0x20 && b <= 0x2f: // an intermediate byte
	case *e == escapeBegun,
		*e == escapeParams && b >= 0x40 && b <= 0x7e,
		*e == escapeString && b == 0x07:
		*e = escapeNone
	case *e == escapeNone:
		return false
	}
	return true
}

// messageLevel is the level of what mvm says, told by how it says it.
func messageLevel(line []byte) int {
	for prefix, level := range map[string]int{
		"mvm: error: ":   levelError,
		"mvm: hint: ":    levelNotice,
		"mvm: warning: ": levelWarning,
	} {
		if bytes.HasPrefix(line, []byte(prefix)) {
			return level
		}
	}
	return levelInfo
}

// consoleLevel is the level of what a guest writes to its console: that of its
// kernel's worst words, as far as they are known.
func consoleLevel(line []byte) int {
	for _, w := range []struct {
		text  string
		level int
	}{
		{"Kernel panic - not syncing", levelCritical},
		{"BUG: ", levelError},
		{"Oops: ", levelError},
		{"Out of memory: Killed process", levelError},
		{"I/O error, dev ", levelError},
		{"WARNING: CPU: ", levelWarning},
	} {
		if bytes.Contains(line, []byte(w.text)) {
			return w.level
		}
	}
	return levelInfo
}
