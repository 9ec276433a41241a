package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

// journalSize is how many events a machine keeps. A life has about ten; more
// come only from restarts, and then the newest tell the story.
const journalSize = 512

// A journal keeps what happened to a machine and wakes whoever follows it.
type journal struct {
	mu     sync.Mutex
	events []control.Event
	first  int           // number of events[0], counted from the machine's start
	more   chan struct{} // closed and replaced when an event is added
	over   bool
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

// add appends e. Nothing is added after an event with an exit.
func (j *journal) add(e control.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return
	}
	// A clock that was set back must not reorder what happened. It is the time
	// of day that others get to see, so that is what is compared.
	e.Time = e.Time.Round(0)
	if n := len(j.events); n > 0 && e.Time.Before(j.events[n-1].Time) {
		e.Time = j.events[n-1].Time.Add(time.Nanosecond)
	}
	j.events = append(j.events, e)
	if n := len(j.events) - journalSize; n > 0 {
		j.events = append([]control.Event(nil), j.events[n:]...)
		j.first += n
	}
	j.over = e.Exit != nil
	close(j.more)
	j.more = make(chan struct{})
}

// follow calls f for each event that is kept and then for each as it comes,
// until the one with the exit, f fails, or ctx ends.
func (j *journal) follow(ctx context.Context, f func(control.Event) error) error {
	next := 0
	for {
		j.mu.Lock()
		next = max(next, j.first)
		batch, more, over := j.events[next-j.first:], j.more, j.over
		next += len(batch)
		j.mu.Unlock()
		for _, e := range batch {
			if err := f(e); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lines is what happened, as JSON lines. The evidence of an exit is left out: it
// is kept with the exit.
func (j *journal) lines() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range j.events {
		if e.Exit != nil {
			exit := *e.Exit
			exit.Evidence = control.Evidence{}
			e.Exit = &exit
		}
		_ = enc.Encode(e) // plain data into a buffer
	}
	return b.Bytes()
}
