// Command gotest runs "go test -json" with its arguments, prints go test's line
// for each package and the output of what failed, and counts.
//
// Nothing passes by not running: a test that is skipped without being listed in
// skips.txt fails the run, and so does a run without any test.
package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"
)

// skips holds the tests that may skip, one to a line: package, test, reason.
//
//go:embed skips.txt
var skips string

// An event is a line of "go test -json": see "go doc test2json".
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

func main() {
	status, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "gotest: error: %v\n", err)
	}
	os.Exit(status)
}

// run returns the exit status of go test, or 1 if it was 0 for the wrong reasons.
func run(args []string, stdout io.Writer) (int, error) {
	start := time.Now()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	t := newTally(skips)
	readErr := t.read(out, stdout)
	err = cmd.Wait()
	t.summary(stdout, time.Since(start))

	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err := errors.Join(readErr, err, t.verdict()); err != nil {
		return 1, err
	}
	return 0, nil
}

// A tally is what the events said so far.
type tally struct {
	allowed                         map[string]bool   // "package test"
	output                          map[string][]byte // of tests that have not ended
	packages                        map[string]bool   // that have tests
	passed, failed, skipped, strays int
}

func newTally(skips string) *tally {
	t := &tally{
		allowed:  map[string]bool{},
		output:   map[string][]byte{},
		packages: map[string]bool{},
	}
	for line := range strings.Lines(skips) {
		if f := strings.Fields(line); len(f) > 2 && !strings.HasPrefix(f[0], "#") {
			t.allowed[f[0]+" "+f[1]] = true
		}
	}
	return t
}

// read counts the events of r until its end and prints what is worth reading.
func (t *tally) read(r io.Reader, w io.Writer) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				w.Write(line) // go itself speaks
			} else {
				t.count(e, w)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tally) count(e event, w io.Writer) {
	if e.Test == "" {
		// "ok  	package	1.2s", and what a package prints outside of tests.
		if (e.Action == "output" || e.Action == "build-output") && e.Output != "PASS\n" {
			fmt.Fprint(w, e.Output)
		}
		return
	}
	t.packages[e.Package] = true
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		t.output[key] = append(t.output[key], e.Output...)
		return
	case "pass":
		t.passed++
	case "fail":
		t.failed++
		w.Write(t.output[key])
	case "skip":
		t.skipped++
		if !t.mayskip(e) {
			t.strays++
			w.Write(t.output[key])
		}
	default:
		return
	}
	delete(t.output, key)
}

// mayskip reports whether a test is listed; a listed test's subtests are, too.
func (t *tally) mayskip(e event) bool {
	for test := e.Test; test != "."; test = path.Dir(test) {
		if t.allowed[e.Package+" "+test] {
			return true
		}
	}
	return false
}

// summary says how many tests ran, and prints what a crash left unsaid.
func (t *tally) summary(w io.Writer, took time.Duration) {
	var unfinished []string
	for key := range t.output {
		unfinished = append(unfinished, key)
	}
	slices.Sort(unfinished)
	for _, key := range unfinished {
		w.Write(t.output[key])
	}
	fmt.Fprintf(w, "gotest: %d tests passed, %d failed, %d skipped, in %d packages and %v\n",
		t.passed, t.failed, t.skipped, len(t.packages), took.Round(time.Second))
}

// verdict is the reason why a run that go test is happy with is not good.
func (t *tally) verdict() error {
	switch {
	case t.strays > 0:
		return fmt.Errorf("%d tests were skipped that scripts/gotest/skips.txt does not list", t.strays)
	case t.passed == 0:
		return errors.New("no test was run")
	}
	return nil
}
