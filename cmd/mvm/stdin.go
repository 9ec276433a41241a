package main

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// An interruptibleReader is a reader whose Close ends a Read that waits. For a
// file it waits by poll(2) and leaves the file as it is: a terminal or a pipe is
// shared with other processes, which would not expect it to be non-blocking.
type interruptibleReader struct {
	r    io.Reader
	file *os.File // nil if r is not one
	stop [2]int   // a pipe; its end wakes a Read

	mu      sync.Mutex
	reading int // Reads that are under way
	closed  bool
}

// interruptible wraps r. A nil r is at its end.
func interruptible(r io.Reader) *interruptibleReader {
	i := &interruptibleReader{r: r, stop: [2]int{-1, -1}}
	if f, ok := r.(*os.File); ok && f != nil && unix.Pipe2(i.stop[:], unix.O_CLOEXEC) == nil {
		i.file = f
	}
	return i
}

func (i *interruptibleReader) Read(p []byte) (int, error) {
	if i.r == nil {
		return 0, io.EOF
	}
	if i.file == nil {
		return i.r.Read(p)
	}
	if !i.enter() {
		return 0, io.EOF
	}
	defer i.leave()
	for {
		fds := []unix.PollFd{
			{Fd: int32(i.file.Fd()), Events: unix.POLLIN},
			{Fd: int32(i.stop[0]), Events: unix.POLLIN},
		}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case fds[1].Revents != 0:
			return 0, io.EOF
		case fds[0].Revents != 0:
			return i.file.Read(p)
		}
	}
}

func (i *interruptibleReader) enter() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.reading++
	return true
}

func (i *interruptibleReader) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reading--
	i.release()
}

// release closes what Reads wait on, when none does any more.
func (i *interruptibleReader) release() {
	if i.closed && i.reading == 0 {
		unix.Close(i.stop[0])
	}
}

// Close makes every Read return io.EOF from now on. It does not close the file.
func (i *interruptibleReader) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.file == nil {
		return nil
	}
	i.closed = true
	unix.Close(i.stop[1])
	i.release()
	return nil
}
