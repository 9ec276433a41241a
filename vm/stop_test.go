package vm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClimbTriesEachRungForAsLongAsItIsGiven(t *testing.T) {
	refused := errors.New("refused")
	tests := []struct {
		name    string
		dieOn   string        // the rung that works
		after   time.Duration // how long it takes to work
		refuse  string        // a rung that cannot be applied
		block   string        // a rung whose command is never answered
		hurryAt time.Duration // 0 is never
		want    []string
		took    time.Duration
	}{
		{name: "obeys", dieOn: "agent", after: 2 * time.Second, want: []string{"agent"}, took: 2 * time.Second},
		{name: "deaf guest", dieOn: "quit", want: []string{"agent", "button", "quit"}, took: 40 * time.Second},
		{name: "no agent", refuse: "agent", dieOn: "button", after: time.Second, want: []string{"agent", "button"}, took: time.Second},
		{name: "qmp silent", dieOn: "kill", block: "quit", want: []string{"agent", "button", "quit", "kill"}, took: 45 * time.Second},
		{name: "hurry", dieOn: "kill", hurryAt: 3 * time.Second, want: []string{"agent", "kill"}, took: 3 * time.Second},
		{name: "hurry on the last but one", dieOn: "kill", hurryAt: 41 * time.Second, want: []string{"agent", "button", "quit", "kill"}, took: 41 * time.Second},
		{name: "hurry on the last", dieOn: "kill", after: 2 * time.Second, hurryAt: 46 * time.Second, want: []string{"agent", "button", "quit", "kill"}, took: 47 * time.Second},
		{name: "nothing works", want: []string{"agent", "button", "quit", "kill"}, took: 50 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exited, hurry := make(chan struct{}), make(chan struct{})
				apply := func(name string) func(context.Context) error {
					return func(ctx context.Context) error {
						switch name {
						case tt.refuse:
							return refused
						case tt.block:
							<-ctx.Done()
							return context.Cause(ctx)
						case tt.dieOn:
							time.AfterFunc(tt.after, func() { close(exited) })
						}
						return nil
					}
				}
				rungs := []rung{
					{"agent", 30 * time.Second, apply("agent")},
					{"button", 10 * time.Second, apply("button")},
					{"quit", 5 * time.Second, apply("quit")},
					{"kill", 5 * time.Second, apply("kill")},
				}
				if tt.hurryAt > 0 {
					time.AfterFunc(tt.hurryAt, func() { close(hurry) })
				}
				start := time.Now()
				var shown, got []string
				tried := climb(t.Context(), rungs, exited, hurry, func(r rung) { shown = append(shown, r.name) })
				for _, c := range tried {
					got = append(got, c.rung)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("climb() tried (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(got, shown); diff != "" {
					t.Errorf("climb() reported other rungs than it tried (-tried +shown):\n%s", diff)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("climb() took %v; want %v", took, tt.took)
				}
				for i, c := range tried {
					if last := i == len(tried)-1; (c.err == nil) != (last && tt.dieOn != "") {
						t.Errorf("rung %s: error %v", c.rung, c.err)
					}
				}
			})
		})
	}
}
