package main

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a reader may take nothing when nobody can wait for
	// it any longer.
	patience = 2 * time.Second

	// roomSize is how much a pipe that has room takes without making the
	// writer wait: PIPE_BUF (pipe(7)).
	roomSize = 4096
)

var errStuck = errors.New("nobody reads the output")

// An outlet is an output whose reader may stop reading: a pager, a terminal that
// is held, a logger that hangs. It is waited for, but a machine must not be: not
// its messages, and not its end.
type outlet struct {
	w      io.Writer
	fd     int         // -1 if w is no file: then a write never waits
	ending atomic.Bool // the reader gets patience from now on, and no more
	stuck  atomic.Bool // it has had that; cleared when it reads again
}

func newOutlet(w io.Writer) *outlet {
	o := &outlet{w: w, fd: -1}
	if f, ok := w.(interface{ Fd() uintptr }); ok {
		o.fd = int(f.Fd())
	}
	return o
}

// room waits until a write of roomSize bytes does not have to. It reports false
// when the reader was waited for in vain.
func (o *outlet) room() bool {
	const step = patience / 8
	for waited := time.Duration(0); o.fd >= 0; waited += step {
		limit := int(step.Milliseconds())
		if o.stuck.Load() {
			limit = 0
		}
		fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, limit)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n > 0:
			o.stuck.Store(false)
			return true // or the write says what is wrong
		case limit == 0:
			return false
		case o.ending.Load() && waited >= patience:
			o.stuck.Store(true)
			return false
		}
	}
	return true
}

// Write waits for the reader as long as it is to be waited for.
func (o *outlet) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if !o.room() {
			return n, errStuck
		}
		m, err := o.w.Write(p[n:min(n+roomSize, len(p))])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
