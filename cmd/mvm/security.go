package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mvmrun/mvm/vm/control"
)

// printSecurity shows how well a machine is shut in. A machine that is less so
// than its definition says is an error with a code of its own.
func printSecurity(ctx context.Context, out io.Writer, client *control.Client, asJSON bool) error {
	s, err := client.Security(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(out, s)
	} else {
		err = writeSecurity(out, &s)
	}
	if err == nil && s.Weaker() {
		return &endedError{code: exitWeaker}
	}
	return err
}

func writeSecurity(out io.Writer, s *control.Security) error {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", what, fmt.Sprintf(format, args...))
	}
	list := func(what string, items []string) {
		for i, item := range items {
			if i > 0 {
				what = ""
			}
			line(what, "%s", item)
		}
	}
	for _, p := range s.Processes {
		fmt.Fprintf(&b, "%s, process %d\n", p.Name, p.PID)
		groups := []string{strconv.Itoa(p.GID)}
		for _, g := range p.Groups {
			if g != p.GID {
				groups = append(groups, strconv.Itoa(g))
			}
		}
		line("user", "%d, of group %s", p.UID, strings.Join(groups, ", "))
		gains, core := "no new privileges", "no core"
		if !p.NoNewPrivs {
			gains = "new privileges by what it executes"
		}
		if p.Core {
			core = "a core"
		}
		line("seccomp", "%s; %s; %s", seccomp(&p), gains, core)
		line("capabilities", "%s; bounded to %s", capabilities(p.Capabilities), capabilities(p.Bounding))
		if p.Hidden {
			line("writes", "(only root may see what it has open)")
		}
		list("writes", p.Writable)
		list("listens", p.Listening)
		list("weaker", p.Weaker)
	}
	if !s.Weaker() {
		b.WriteString("as its definition says\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func seccomp(p *control.Confined) string {
	switch {
	case p.Seccomp == "none" && p.Unfiltered < p.Threads:
		return fmt.Sprintf("filter, but for %d of %d threads", p.Unfiltered, p.Threads)
	case p.Seccomp == "filter" && p.Filters != 1:
		return fmt.Sprintf("%d filters", p.Filters)
	}
	return p.Seccomp
}

// allCapabilities is more than any confined process has; who has that many has
// nearly all.
const allCapabilities = 20

func capabilities(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n >= allCapabilities:
		return fmt.Sprintf("%d of them", n)
	}
	return strings.Join(slices.Sorted(slices.Values(names)), " ")
}
