// Package kmsg writes to the kernel's log, which is the only place where a
// guest without init can speak to whoever looks at its console, and reads the
// log's last messages, which say why a mount failed when the error number does
// not.
package kmsg

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// path is the kernel's log. One write is one record; one read is one record.
const path = "/dev/kmsg"

// Levels of the kernel's log. "quiet" on the kernel's command line hides all
// from Warning (4) on.
const (
	Critical = 2
	Notice   = 5
)

// maxRecord bounds what is written at once. The kernel refuses records longer
// than about 1 KiB (PRINTKRB_RECORD_MAX) with EINVAL.
const maxRecord = 900

// Print writes a message of one or more lines, each as a record that begins
// with "mvm-init: ". It is best effort: there is nowhere to report an error.
func Print(level int, format string, args ...any) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = 2 // /dev is not there yet; the kernel gave process 1 a console
	} else {
		defer unix.Close(fd)
	}
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		line = strings.TrimSuffix(line, "\n")
		if len(line) > maxRecord {
			line = line[:maxRecord]
		}
		if fd == 2 {
			fmt.Fprintf(os.Stderr, "mvm-init: %s\n", line)
			continue
		}
		_, _ = unix.Write(fd, fmt.Appendf(nil, "<%d>mvm-init: %s\n", level, line))
	}
}

// Tail returns the kernel's last lines at level Notice or more important, at
// most max of them, oldest first. It returns nil if the log cannot be read.
func Tail(max int) []string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)

	var lines []string
	buf := make([]byte, 8<<10) // a record is at most 8 KiB (CONSOLE_EXT_LOG_MAX)
	for {
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
		case unix.EPIPE, unix.EINTR: // overwritten while we read: go on with the next
			continue
		default: // EAGAIN: that was all
			return lines
		}
		level, text, ok := parse(buf[:n])
		if !ok || level > Notice || strings.HasPrefix(text, "mvm-init: ") {
			continue
		}
		if lines = append(lines, text); len(lines) > max {
			lines = lines[1:]
		}
	}
}

// parse splits a record as Documentation/ABI/testing/dev-kmsg has it:
// "prefix,sequence,time,flags[,…];text\n key=value…". The low three bits of
// the prefix are the level.
func parse(record []byte) (level int, text string, ok bool) {
	head, rest, ok := bytes.Cut(record, []byte{';'})
	if !ok {
		return 0, "", false
	}
	prefix, _, _ := bytes.Cut(head, []byte{','})
	for _, c := range prefix {
		if c < '0' || c > '9' {
			return 0, "", false
		}
		level = (level*10 + int(c-'0')) & 0xffff
	}
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	return level & 7, string(line), true
}
