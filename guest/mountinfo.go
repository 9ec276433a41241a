package guest

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mvmrun/mvm/mounts"
)

// A mounted is one line of mountinfo, as proc(5) has it.
type mounted struct {
	where   string
	kind    string
	source  string
	options []string // of the mount and of the file system
}

// parseMountInfo reads /proc/PID/mountinfo. Lines that do not look like one are
// left out: the kernel writes none.
func parseMountInfo(text string) []mounted {
	var list []mounted
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(head) < 6 || len(tail) < 3 {
			continue
		}
		list = append(list, mounted{
			where:   unescape(head[4]),
			kind:    tail[0],
			source:  unescape(tail[1]),
			options: append(strings.Split(head[5], ","), strings.Split(tail[2], ",")...),
		})
	}
	return list
}

// unescape undoes the kernel's octal escapes of space, tab, newline and
// backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1]) && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c byte) bool { return '0' <= c && c <= '7' }

// verify compares what is mounted with the plan. Of several mounts at one
// place the last line of mountinfo is the one that is seen.
func verify(plan mounts.Plan, list []mounted) error {
	for _, m := range plan.Mounts {
		i := lastAt(list, m.Where)
		if i < 0 {
			return &Failure{Op: "verify " + m.Where, Err: fmt.Errorf("it is not mounted"), Detail: describeMounts(list)}
		}
		got := list[i]
		if m.Type != "" && m.Type != got.kind {
			return &Failure{Op: "verify " + m.Where, Err: fmt.Errorf("it is %s, and the plan wants %s", got.kind, m.Type), Detail: describeMounts(list)}
		}
		if m.ReadOnly() && !slices.Contains(got.options, "ro") {
			return &Failure{Op: "verify " + m.Where, Err: fmt.Errorf("it is writable, and the plan wants it read-only"), Detail: describeMounts(list)}
		}
	}
	return nil
}

func lastAt(list []mounted, where string) int {
	for i, m := range slices.Backward(list) {
		if m.where == where {
			return i
		}
	}
	return -1
}

func describeMounts(list []mounted) string {
	lines := []string{"what is mounted:"}
	for _, m := range list {
		lines = append(lines, fmt.Sprintf("  %s %s %s %s", m.source, m.where, m.kind, strings.Join(m.options, ",")))
	}
	return strings.Join(lines, "\n")
}

// readMountInfo reads the calling thread's view, which after a chroot of that
// thread is not the process's.
func readMountInfo() ([]mounted, error) {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMountInfo(string(b)), nil
}
