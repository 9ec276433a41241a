package security

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Process is what a process is and may do at the moment.
type Process struct {
	PID int `json:"pid"`

	// UID and GID are the effective ones, and Groups the supplementary.
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups"`

	// Seccomp is "none", "strict" or "filter", the weakest of all threads,
	// and Filters how many filters that thread has. Unfiltered counts the
	// threads, of so many, whose mode is "none".
	Seccomp    string `json:"seccomp"`
	Filters    int    `json:"seccompFilters"`
	Threads    int    `json:"threads"`
	Unfiltered int    `json:"unfilteredThreads"`

	// NoNewPrivs says that what it executes gains no privileges either.
	NoNewPrivs bool `json:"noNewPrivs"`

	// Capabilities are those that it has or can give itself, and Bounding
	// those that a program with privileges could get if it executed one.
	Capabilities []string `json:"capabilities"`
	Bounding     []string `json:"bounding"`

	// Core says that it may leave a core, with all its memory.
	Core bool `json:"core"`

	// Writable are the paths of what it has open for writing, and Listening
	// the sockets on which it can be reached, as "tcp 127.0.0.1:80".
	Writable  []string `json:"writable"`
	Listening []string `json:"listening"`

	// Hidden says that nobody but root may see what it has open: it has
	// changed its user, or its namespace. Writable and Listening are then
	// empty.
	Hidden bool `json:"hidden,omitempty"`

	// Args is its command line.
	Args []string `json:"-"`
}

// Read reads what there is to know of a process. The error is fs.ErrNotExist if
// there is none.
func Read(pid int) (*Process, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return nil, err
	}
	p := &Process{PID: pid}
	if err := p.status(parseStatus(status)); err != nil {
		return nil, fmt.Errorf("%s/status: %w", dir, err)
	}
	if err := p.threads(dir); err != nil {
		return nil, err
	}
	limits, err := os.ReadFile(dir + "/limits")
	if err != nil {
		return nil, err
	}
	p.Core = leavesCore(string(limits))
	cmdline, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return nil, err
	}
	p.Args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	p.Writable, p.Listening = []string{}, []string{}
	sockets, err := p.files(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		p.Hidden = true
		return p, nil
	case err != nil:
		return nil, err
	}
	p.Listening, err = listening(dir, sockets)
	return p, err
}

// Tree reads a process and, after it, all that it has started and that still
// belong to it. One that ends meanwhile is left out.
func Tree(pid int) ([]*Process, error) {
	p, err := Read(pid)
	if err != nil {
		return nil, err
	}
	list := []*Process{p}
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range children {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			more, err := Tree(child)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			list = append(list, more...)
		}
	}
	return list, nil
}

// parseStatus reads the lines "Key:\tvalue" of a status file.
func parseStatus(b []byte) map[string]string {
	fields := make(map[string]string)
	for line := range bytes.Lines(b) {
		if key, value, ok := strings.Cut(string(line), ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields
}

// seccompModes are the kernel's numbers.
var seccompModes = []string{"none", "strict", "filter"}

func (p *Process) status(f map[string]string) error {
	var errs []error
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		errs = append(errs, err)
		return n
	}
	second := func(s string) string { // of real, effective, saved, file system
		words := strings.Fields(s)
		if len(words) != 4 {
			return s
		}
		return words[1]
	}
	p.UID, p.GID = number(second(f["Uid"])), number(second(f["Gid"]))
	p.Groups = []int{}
	for g := range strings.FieldsSeq(f["Groups"]) {
		p.Groups = append(p.Groups, number(g))
	}
	p.Seccomp, p.Filters = seccomp(f)
	p.NoNewPrivs = f["NoNewPrivs"] == "1"
	has, err := parseCaps(f["CapPrm"])
	errs = append(errs, err)
	ambient, err := parseCaps(f["CapAmb"])
	errs = append(errs, err)
	bounding, err := parseCaps(f["CapBnd"])
	errs = append(errs, err)
	p.Capabilities, p.Bounding = names(has|ambient), names(bounding)
	return errors.Join(errs...)
}

// seccomp is "none" for a kernel that has no such thing.
func seccomp(f map[string]string) (mode string, filters int) {
	n, _ := strconv.Atoi(f["Seccomp"])
	if n < 0 || n >= len(seccompModes) {
		n = 0
	}
	filters, _ = strconv.Atoi(f["Seccomp_filters"]) // since Linux 5.9
	return seccompModes[n], filters
}

// threads takes the weakest thread for the process: a filter can be missing in
// one of them.
func (p *Process) threads(dir string) error {
	tasks, err := os.ReadDir(dir + "/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		b, err := os.ReadFile(dir + "/task/" + t.Name() + "/status")
		if err != nil {
			continue // it has ended
		}
		f := parseStatus(b)
		mode, filters := seccomp(f)
		if mode == "none" && p.Seccomp != mode || filters < p.Filters {
			p.Seccomp, p.Filters = mode, filters
		}
		p.Threads++
		if mode == "none" {
			p.Unfiltered++
		}
		p.NoNewPrivs = p.NoNewPrivs && f["NoNewPrivs"] == "1"
		more, err := parseCaps(f["CapPrm"])
		if err != nil {
			return err
		}
		for _, name := range names(more) {
			if !slices.Contains(p.Capabilities, name) {
				p.Capabilities = append(p.Capabilities, name)
			}
		}
	}
	return nil
}

// leavesCore reports whether the soft limit of a core's size is more than 0.
func leavesCore(limits string) bool {
	for line := range strings.Lines(limits) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			words := strings.Fields(rest)
			return len(words) == 0 || words[0] != "0"
		}
	}
	return true
}
