package main

import (
	"fmt"
	"io"
	"time"
)

// A want is a promise about medians: of takes at most limit times what to takes,
// or at most a time, if there is no to.
type want struct {
	of, to string
	limit  float64 // seconds without to
}

var wants = []want{
	{mvmSparse, bound, 1.1},
	{mvmPacked, bound, 1.1},
	{mvmSparse, mkfsErofs, 0.35},
	{mvmPacked, mkfsErofs, 0.35},
	{nothing, "", 0.005},
	{little, "", 0.010},
	{large, mkfsErofs, 0.04},
	{runNothing, "", 0.010},
	{mvmExt4, mkfsExt4, 1},
	{mvmBtrfs, mkfsBtrfs, 1},
}

// mostMemory is what making any erofs image may take, in bytes.
const mostMemory = 100e6

// judge says which wants are met. The least of the times is given beside the
// median, since a busy machine adds to times and never takes from them.
func (r *results) judge(w io.Writer) {
	fmt.Fprintln(w, "\nwanted:")
	for _, x := range wants {
		of, to := r.walls(x.of), r.walls(x.to)
		switch {
		case of == nil || x.to != "" && to == nil:
		case x.to == "":
			limit := time.Duration(x.limit * float64(time.Second))
			fmt.Fprintf(w, "  %s  %s: %s; least %s; want at most %s\n",
				verdict(median(of) <= limit), x.of, short(median(of)), short(least(of)), short(limit))
		default:
			got, low := float64(median(of))/float64(median(to)), float64(least(of))/float64(least(to))
			fmt.Fprintf(w, "  %s  %s: %.3f of %s; of least times %.3f; want at most %g\n",
				verdict(got <= x.limit), x.of, got, x.to, low, x.limit)
		}
	}
	var most int64
	for _, name := range []string{mvmSparse, mvmPacked, nothing, little, large, inUse} {
		if s := r.by[name]; s != nil {
			most = max(most, s.peak)
		}
	}
	fmt.Fprintf(w, "  %s  memory for an erofs image: %d MB; want at most %d\n", verdict(most <= mostMemory), most/1e6, int64(mostMemory/1e6))
}

func verdict(met bool) string {
	if met {
		return "met   "
	}
	return "MISSED"
}
