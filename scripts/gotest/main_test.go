package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTally(t *testing.T) {
	const skips = "# comment\nm/p TestSlow needs another machine\n"
	const ok = `{"Action":"output","Package":"m/p","Output":"ok  \tm/p\t0.1s\n"}` + "\n"
	const pass = `{"Action":"pass","Package":"m/p","Test":"TestA"}` + "\n"
	tests := []struct {
		name    string
		events  string
		printed string
		verdict string
	}{
		{
			name: "output of tests that pass is dropped",
			events: `{"Action":"run","Package":"m/p","Test":"TestA"}` + "\n" +
				`{"Action":"output","Package":"m/p","Test":"TestA","Output":"--- PASS: TestA\n"}` + "\n" +
				pass + `{"Action":"output","Package":"m/p","Output":"PASS\n"}` + "\n" + ok,
			printed: "ok  \tm/p\t0.1s\ngotest: 1 tests passed, 0 failed, 0 skipped, in 1 packages and 2s\n",
		},
		{
			name: "output of tests that fail is printed",
			events: `{"Action":"output","Package":"m/p","Test":"TestA","Output":"    a_test.go:1: bad\n"}` + "\n" +
				`{"Action":"fail","Package":"m/p","Test":"TestA"}` + "\n" +
				`{"Action":"output","Package":"m/p","Output":"FAIL\tm/p\t0.1s\n"}` + "\n",
			printed: "    a_test.go:1: bad\nFAIL\tm/p\t0.1s\ngotest: 0 tests passed, 1 failed, 0 skipped, in 1 packages and 2s\n",
			verdict: "no test was run",
		},
		{
			name: "a test that a crash cut off is printed",
			events: pass + `{"Action":"output","Package":"m/p","Test":"TestB","Output":"=== RUN   TestB\n"}` + "\n" +
				`{"Action":"output","Package":"m/p","Output":"panic: no\n"}` + "\n",
			printed: "panic: no\n=== RUN   TestB\ngotest: 1 tests passed, 0 failed, 0 skipped, in 1 packages and 2s\n",
		},
		{
			name: "a listed skip is good, with its subtests",
			events: pass + `{"Action":"skip","Package":"m/p","Test":"TestSlow"}` + "\n" +
				`{"Action":"skip","Package":"m/p","Test":"TestSlow/sub"}` + "\n" + ok,
			printed: "ok  \tm/p\t0.1s\ngotest: 1 tests passed, 0 failed, 2 skipped, in 1 packages and 2s\n",
		},
		{
			name: "another skip is not",
			events: pass + `{"Action":"output","Package":"m/p","Test":"TestB","Output":"    b_test.go:2: no kvm\n"}` + "\n" +
				`{"Action":"skip","Package":"m/p","Test":"TestB"}` + "\n" + ok,
			printed: "    b_test.go:2: no kvm\nok  \tm/p\t0.1s\ngotest: 1 tests passed, 0 failed, 1 skipped, in 1 packages and 2s\n",
			verdict: "1 tests were skipped that scripts/gotest/skips.txt does not list",
		},
		{
			name:    "what is not an event is printed",
			events:  "go: downloading x\n" + `{"Action":"build-output","ImportPath":"m/q","Output":"q.go:1: syntax error\n"}` + "\n",
			printed: "go: downloading x\nq.go:1: syntax error\ngotest: 0 tests passed, 0 failed, 0 skipped, in 0 packages and 2s\n",
			verdict: "no test was run",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tally := newTally(skips)
			var printed strings.Builder
			if err := tally.read(strings.NewReader(tt.events), &printed); err != nil {
				t.Fatal(err)
			}
			tally.summary(&printed, 2*time.Second)
			if diff := cmp.Diff(tt.printed, printed.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
			verdict := ""
			if err := tally.verdict(); err != nil {
				verdict = err.Error()
			}
			if verdict != tt.verdict {
				t.Errorf("verdict() = %q; want %q", verdict, tt.verdict)
			}
		})
	}
}
