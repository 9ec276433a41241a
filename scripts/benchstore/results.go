package main

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// results are what was measured, in the order in which it was first.
type results struct {
	order   []string
	by      map[string]*series
	missing []string // what could not be measured, and why

	closure      string // in words
	bytes, files int64
}

// A series is what was measured of one thing, round by round.
type series struct {
	wall  []time.Duration // processes, from start to end
	inner []time.Duration // what they say their work took; or nil
	peak  int64           // most memory resident, in bytes; 0 if not known
	size  int64           // of what was made, in bytes; 0 if not known
}

func newResults() *results { return &results{by: map[string]*series{}} }

// series returns the series with a name. That without a name is not shown.
func (r *results) series(name string) *series {
	s := r.by[name]
	if s == nil {
		s = &series{}
		r.by[name] = s
		if name != "" {
			r.order = append(r.order, name)
		}
	}
	return s
}

// walls are the times of what was measured, or nil if it was not.
func (r *results) walls(name string) []time.Duration {
	if s := r.by[name]; s != nil && name != "" {
		return s.wall
	}
	return nil
}

// count looks at the closure that everything is made of.
func (r *results) count(dir string) error {
	paths := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		r.files++
		if filepath.Dir(p) == dir {
			paths++
		}
		if d.Type().IsRegular() {
			fi, err := d.Info()
			if err != nil {
				return err
			}
			r.bytes += fi.Size()
		}
		return nil
	})
	r.closure = fmt.Sprintf("a closure of %d paths, %d files, %d MB", paths, r.files, r.bytes/1e6)
	return err
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return (sorted[(len(d)-1)/2] + sorted[len(d)/2]) / 2
}

func least(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Min(d)
}

// short is a time with as many digits as it deserves.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// print writes a table with the medians, and ratios of medians.
func (r *results) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\tmedian\tleast\t/ cat\t/ mkfs.erofs\tMB\tpeak RSS, MB\tof it the disk\t\n")
	for _, name := range r.order {
		s := r.by[name]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, short(median(s.wall)), short(least(s.wall)),
			r.ratio(name, bound), r.ratio(name, mkfsErofs), megabytes(s.size), megabytes(s.peak), short(median(s.inner)))
	}
	t.Flush()
	for _, m := range r.missing {
		fmt.Fprintln(w, "not measured:", m)
	}
}

func (r *results) ratio(a, b string) string {
	of, to := median(r.walls(a)), median(r.walls(b))
	if to == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", float64(of)/float64(to))
}

func megabytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint((n + 5e5) / 1e6)
}
