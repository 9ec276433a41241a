package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

const (
	// maxExtraArgs bounds what an extraArgsScript may print.
	maxExtraArgs = 64 << 10

	// argBlanks separate arguments: the shell's, when nobody has told it other
	// ones.
	argBlanks = " \t\n"
)

// preStart runs the definition's preStart in the machine's state directory.
func (s *supervisor) preStart(ctx context.Context) error {
	if strings.TrimSpace(s.c.PreStart) == "" {
		return nil
	}
	s.note("running preStart")
	x := script{"preStart", s.c.PreStart, s.place.State}
	return x.run(ctx, nil, func(line string) { s.note("preStart: %s", line) })
}

// scriptArgs runs the definition's extraArgsScript, where preStart ran, and
// returns the arguments that it prints.
func (s *supervisor) scriptArgs(ctx context.Context) ([]string, error) {
	const key = "extraArgsScript"
	if strings.TrimSpace(s.c.ExtraArgsScript) == "" {
		return nil, nil
	}
	x := script{key, s.c.ExtraArgsScript, s.place.State}
	out := &limitedBuffer{limit: maxExtraArgs}
	if err := x.run(ctx, out, func(line string) { s.note("%s: %s", key, line) }); err != nil {
		return nil, err
	}
	args, err := splitArgs(out)
	if err != nil {
		return nil, &HostError{Op: key, Err: err, Hint: "let it print arguments of QEMU, with blanks between them, on standard output"}
	}
	return args, nil
}

// splitArgs splits what a script printed as a shell splits $(…) outside quotes:
// at blanks, tabs and line ends, of which any number are one. Quotes and
// backslashes mean nothing. Unlike a shell's, the words are not patterns of
// file names.
func splitArgs(out *limitedBuffer) ([]string, error) {
	text := out.buf.String()
	if out.over {
		return nil, fmt.Errorf("it printed more than %d bytes", out.limit)
	}
	if strings.ContainsRune(text, 0) {
		return nil, errors.New("it printed a NUL byte, which no program can be given")
	}
	args := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(argBlanks, r) })
	return args, argsTrouble(args)
}

// argsTrouble is what is wrong with arguments that are added to QEMU's.
func argsTrouble(args []string) error {
	for i, arg := range args {
		switch {
		case i == 0 && !strings.HasPrefix(arg, "-"):
			return fmt.Errorf("QEMU would take %s for a disk image; the first argument begins with -", quoteShort(arg))
		case strings.HasPrefix(arg, "-") && strings.TrimLeft(arg, "-") == "daemonize":
			return errors.New("QEMU would leave mvm, which then could not watch it: leave -daemonize out")
		}
	}
	return nil
}

// A limitedBuffer keeps so many bytes and remembers whether there were more.
type limitedBuffer struct {
	limit int
	buf   bytes.Buffer
	over  bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	if len(p) > room {
		b.over = true
		b.buf.Write(p[:room])
		return len(p), nil
	}
	return b.buf.Write(p)
}
