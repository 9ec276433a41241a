package mounts

import (
	"path"
	"slices"
	"strings"
)

// within reports whether p is dir or lies below it. Both are clean.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// An index finds mounts by their mount point; of two on one, the first.
type index map[string]int

func newIndex(ms []Mount) index {
	at := make(index, len(ms))
	for i, m := range ms {
		if _, taken := at[m.Where]; !taken {
			at[m.Where] = i
		}
	}
	return at
}

// on returns the mounts that p lies on, the nearest first: those whose mount
// point is p or a parent of it.
func (at index) on(p string) []int {
	var found []int
	for {
		if i, ok := at[p]; ok {
			found = append(found, i)
		}
		up := path.Dir(p)
		if up == p {
			return found
		}
		p = up
	}
}

// needs returns the mounts that must be there before mount i: those that its
// mount point, what it depends on and what it binds lie on. Mount i itself is
// among them if it depends on something below its own mount point.
func (at index) needs(ms []Mount, i int) []int {
	m := ms[i]
	var found []int
	add := func(p string) {
		for _, j := range at.on(p) {
			if !slices.Contains(found, j) {
				found = append(found, j)
			}
		}
	}
	if m.Where != "/" {
		add(path.Dir(m.Where))
	}
	for _, d := range m.Depends {
		add(d)
	}
	if m.Bind() {
		add(m.What)
	}
	return found
}

// sorted returns ms in an order in which each follows all that it needs.
// Mounts that do not need each other keep their order, but for those that are
// called forward because another needs them. Mounts in a cycle come in any
// order; see [Plan.Check].
func sorted(ms []Mount) []Mount {
	at := newIndex(ms)
	out := make([]Mount, 0, len(ms))
	seen := make([]bool, len(ms))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		need := at.needs(ms, i)
		slices.Sort(need)
		for _, j := range need {
			visit(j)
		}
		out = append(out, ms[i])
	}
	for i := range ms {
		visit(i)
	}
	return out
}

// cycle returns the mount points of a cycle that mount i is part of, from i
// back to i, or nil.
func (at index) cycle(ms []Mount, i int) []string {
	seen := make([]bool, len(ms))
	var walk func(j int) []string
	walk = func(j int) []string {
		for _, k := range at.needs(ms, j) {
			if k == i {
				return []string{ms[j].Where, ms[i].Where}
			}
			if seen[k] {
				continue
			}
			seen[k] = true
			if rest := walk(k); rest != nil {
				return append([]string{ms[j].Where}, rest...)
			}
		}
		return nil
	}
	return walk(i)
}
