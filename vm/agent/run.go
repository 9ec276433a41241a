package agent

import (
	"cmp"
	"context"
	"io"
	"sync"
	"time"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// Run connects the command to a caller's streams until it has ended and all
// that it wrote was passed on. A nil reader is no input, a nil writer drops
// output. The session is closed when Run returns.
//
// An [OutputError] is for a writer that failed.
//
// Run does not wait for a Read of stdin that is under way when the command
// ends: a reader cannot be made to return. Whoever gives one that blocks must
// end it.
func (s *Session) Run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (handoff.Exited, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the session, or with the Read it is in
		if stdin != nil {
			_, _ = io.Copy(stdinWriter{ctx, s}, stdin)
		}
		_ = s.CloseStdin(ctx)
	}()
	stop := context.AfterFunc(ctx, func() {
		// Whoever asked has left, so nobody wants the command any more.
		closing, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer done()
		_ = s.Close(closing)
	})
	defer stop()
	var out sync.WaitGroup
	var outErr, errErr error
	// A writer that fails ends the command, as a broken pipe would.
	out.Go(func() {
		if outErr = drain(stdout, s.Stdout()); outErr != nil {
			cancel()
		}
	})
	out.Go(func() {
		if errErr = drain(stderr, s.Stderr()); errErr != nil {
			cancel()
		}
	})
	out.Wait()
	exited, err := s.Wait(ctx)
	return exited, cmp.Or(outErr, errErr, err)
}

// closeTimeout is how long a guest may take to read that a command is not
// wanted any more. One that does not read at all has worse troubles.
const closeTimeout = 5 * time.Second

// drain copies r to w until the command closes its end.
func drain(w io.Writer, r io.Reader) error {
	if w == nil {
		w = io.Discard
	}
	_, err := io.Copy(output{w}, r)
	return err
}

// An OutputError says that what a command wrote could not be written here: the
// guest is not to blame.
type OutputError struct{ Err error }

func (e *OutputError) Error() string { return "write the command's output: " + e.Err.Error() }
func (e *OutputError) Unwrap() error { return e.Err }

// output marks the errors of a writer.
type output struct{ w io.Writer }

func (o output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		err = &OutputError{err}
	}
	return n, err
}

type stdinWriter struct {
	ctx context.Context //nolint:containedctx // io.Writer has no room for one
	s   *Session
}

func (w stdinWriter) Write(p []byte) (int, error) { return w.s.WriteStdin(w.ctx, p) }
