package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/mounts/cargo"
	"github.com/mvmrun/mvm/mounts/handoff"
	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/control"
)

func newCp(e env) *cobra.Command {
	return &cobra.Command{
		Use:     "cp NAME:PATH LOCAL | LOCAL NAME:PATH",
		GroupID: "life",
		Short:   "Copy files between a machine and this host",
		Long: `Cp copies a file, or a directory with all that is in it, from a machine that is
ready to this host or the other way. The target is a directory to copy into, or the
copy's new name. A path in the guest begins at its root. A local path that looks
like a machine's is written ./NAME:PATH.

Contents, permissions (less the umask), times of modification and the holes of
sparse files are kept; owners become those of whoever receives: root in the guest,
you on the host. A link that is named is followed, links in a directory stay
links. Pipes, sockets and devices are left out and named. A file that is there
already is replaced when its new contents are complete, and not before.

The exit status is 1 if something could not be copied, and 125 if the guest could
not be asked.`,
		Example: `  mvm cp myvm:/etc/os-release .
  mvm cp ./site myvm:/srv/www
  mvm cp ./site/. myvm:/srv/www     # its contents, not the directory`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: e.completeCp,
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := parseEnd(args[0]), parseEnd(args[1])
			switch {
			case from.machine == "" && to.machine == "":
				return usageError{errors.New("neither argument is NAME:PATH, a place in a machine")}
			case from.machine != "" && to.machine != "":
				return usageError{errors.New("both arguments are in machines: copy to this host first")}
			case from.path == "" || to.path == "":
				return usageError{errors.New("give a path on both sides: NAME:/ is the guest's root")}
			}
			place, err := e.place(from.machine + to.machine)
			if err != nil {
				return err
			}
			c := &copying{e: e, client: control.NewClient(place.Name, place.Socket()), name: place.Name}
			c.screen = newScreen(e)
			defer c.screen.close()
			c.begin = time.Now()
			if from.machine != "" {
				return c.fetch(cmd.Context(), from.path, to.path)
			}
			return c.bring(cmd.Context(), from.path, to.path)
		},
	}
}

// An end is where a copy comes from or goes to: on this host if machine is "".
type end struct{ machine, path string }

// parseEnd takes NAME:PATH for a place in a machine if NAME can be one.
func parseEnd(arg string) end {
	name, path, ok := strings.Cut(arg, ":")
	if !ok || name == "" || vm.CheckName(name) != nil {
		return end{path: arg}
	}
	return end{name, path}
}

// copiedName is what a copy of path is called in the directory that it is put
// into: "" means that only the contents are copied.
func copiedName(path string) string {
	if strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..") {
		return ""
	}
	switch base := filepath.Base(path); base {
	case ".", "..", "/":
		return ""
	default:
		return base
	}
}

// A copying is one copy under way.
type copying struct {
	e      env
	client *control.Client
	name   string // of the machine
	screen *screen
	begin  time.Time
	logged time.Time
}

// fetch copies from the guest. What the guest sends is trusted with nothing: see
// package cargo.
func (c *copying) fetch(ctx context.Context, from, to string) error {
	r, w := io.Pipe()
	received := make(chan error, 1) // for the one result
	go func() {                     // ends with the pipe, which guest closes
		err := cargo.Receive(r, to, copiedName(from), c.progress)
		_ = r.CloseWithError(err)
		received <- err
	}()
	gerr := c.guest(ctx, []string{"send", from}, nil, w)
	w.Close()
	err := <-received
	switch {
	case gerr != nil && (err == nil || errors.Is(err, cargo.ErrStream)):
		return gerr // the cause
	case errors.Is(err, cargo.ErrStream):
		return fmt.Errorf("%s:%s: %w", c.name, from, err)
	}
	return copied(err)
}

// bring copies to the guest.
func (c *copying) bring(ctx context.Context, from, to string) error {
	r, w := io.Pipe()
	sent := make(chan error, 1) // for the one result
	go func() {                 // ends with the pipe, which is closed below
		err := cargo.Send(w, from, c.progress)
		w.Close()
		sent <- err
	}()
	gerr := c.guest(ctx, []string{"receive", to, copiedName(from)}, r, nil)
	r.Close()
	err := <-sent
	skipped := (*cargo.SkippedError)(nil)
	switch {
	case err == nil || errors.As(err, &skipped) || errors.Is(err, io.ErrClosedPipe):
		if gerr != nil {
			return gerr
		}
	}
	return copied(err)
}

// guest runs the guest's end.
func (c *copying) guest(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	// A copy that is cut off tidies up on both sides.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	conn, session, err := c.client.Exec(ctx, handoff.Exec{Argv: append([]string{handoff.CopyProgram}, args...)})
	if err != nil {
		return execError(err)
	}
	defer conn.Close()
	said := &clipped{max: 4096}
	exited, err := session.Run(ctx, in, out, said)
	switch {
	case ctx.Err() != nil:
		return &endedError{exit: control.Exit{Detail: "the copy was interrupted, and is not complete"}, code: 128 + int(syscall.SIGINT), report: true}
	case err != nil:
		return execError(err)
	case exited.Err != "":
		return execError(errors.New(exited.Err))
	case exited.Code > 128:
		return fmt.Errorf("%s: the copy was ended there by signal %d", c.name, exited.Code-128)
	case exited.Code != 0:
		return &guestError{c.name, said.text()}
	}
	return nil
}

// A guestError is what the guest's end of a copy had to say.
type guestError struct{ machine, text string }

func (e *guestError) Error() string {
	if e.text == "" {
		return e.machine + ": the copy failed there without a word"
	}
	return fmt.Sprintf("in %s: %s", e.machine, e.text)
}

// copied is the error of a copy that has its own exit status: that a file cannot
// be read says nothing of what this host lacks.
func copied(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if skipped, ok := errors.AsType[*cargo.SkippedError](err); ok {
		text = "not copied:\n  " + strings.ReplaceAll(skipped.Error(), "\n", "\n  ")
	} else if pe, ok := errors.AsType[*fs.PathError](err); ok {
		text = pe.Path + ": " + pe.Err.Error()
	}
	return &endedError{exit: control.Exit{Detail: text}, code: exitError, report: true}
}

// progress shows how far a copy is that takes long enough to be noticed.
func (c *copying) progress(p cargo.Progress) {
	now := time.Now()
	took := now.Sub(c.begin)
	if took < quietFor || now.Sub(c.logged) < 100*time.Millisecond {
		return
	}
	text := fmt.Sprintf("%s: copied %d files, %.0f MB, %.1f MB/s: %s", c.name, p.Files,
		float64(p.Bytes)/1e6, float64(p.Bytes)/took.Seconds()/1e6, printable(p.Name))
	if _, ok := terminal(c.screen.stderr); ok {
		c.logged = now
		c.screen.update("mvm: " + text)
	} else if now.Sub(c.logged) >= logEvery && took >= logEvery {
		c.logged = now
		c.screen.tell("%s", text)
	}
}

// A clipped buffer keeps the beginning of what is written to it.
type clipped struct {
	bytes.Buffer
	max int
}

func (b *clipped) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), b.max-b.Len())])
	return len(p), nil
}

// text is what was kept, fit to be shown.
func (b *clipped) text() string { return printable(strings.TrimSpace(b.String())) }

// printable is text of a guest without what steers a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
