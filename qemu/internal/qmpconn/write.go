package qmpconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// A FileTransport is a transport that can carry open files beside its bytes. A
// *net.UnixConn is one.
type FileTransport interface {
	Transport
	WriteMsgUnix(b, oob []byte, addr *net.UnixAddr) (n, oobn int, err error)
}

var _ FileTransport = (*net.UnixConn)(nil)

// write sends a line, and a file beside it unless that is nil, or gives up with
// the context: while another line is on its way, too. A line that was sent in
// part cannot be taken back, so it ends the connection.
func (c *Conn) write(ctx context.Context, line []byte, file *os.File) error {
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-c.ended:
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := c.t.SetWriteDeadline(time.Time{}); err != nil {
		return c.fail(err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		c.t.SetWriteDeadline(time.Unix(1, 0))
	})
	n, err := c.put(line, file)
	if !stop() {
		<-interrupted // or it would hit the next write
	}
	switch {
	case err == nil:
		return nil
	case n == 0 && errors.Is(err, errors.ErrUnsupported):
		return err
	case n == 0 && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.EPIPE):
		// QEMU has gone. The reader still reads what it said last, and
		// then ends the connection.
		select {
		case <-c.ended:
			return c.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	default:
		return c.fail(fmt.Errorf("%d of %d bytes written: %w", n, len(line), err))
	}
}

// put writes the line, the file with its first byte.
func (c *Conn) put(line []byte, file *os.File) (int, error) {
	if file == nil {
		return c.t.Write(line)
	}
	t, ok := c.t.(FileTransport)
	if !ok {
		return 0, fmt.Errorf("send a file: %w", errors.ErrUnsupported)
	}
	n, _, err := t.WriteMsgUnix(line, syscall.UnixRights(int(file.Fd())), nil)
	runtime.KeepAlive(file)
	if err != nil || n == len(line) {
		return n, err
	}
	more, err := t.Write(line[n:])
	return n + more, err
}
