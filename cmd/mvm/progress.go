package main

import (
	"fmt"
	"time"

	"github.com/mvmrun/mvm/storedisk"
	"github.com/mvmrun/mvm/vm/control"
)

// A progress turns what happens to a machine into lines for a person. Building
// is shown only once it takes long enough to be noticed.
type progress struct {
	screen *screen
	name   string
	begin  time.Time
	logged time.Time
}

const (
	// A build that is over before this is not worth a word.
	quietFor = 500 * time.Millisecond
	// How often a log gets a line about a build. A terminal is updated as
	// often as progress comes.
	logEvery = 5 * time.Second
)

func newProgress(s *screen, name string) *progress {
	now := time.Now()
	return &progress{screen: s, name: name, begin: now, logged: now}
}

// event prints one event.
func (p *progress) event(e control.Event) {
	switch {
	case e.Exit != nil:
		if e.Exit.Detail == "" {
			p.screen.tell("%s: %s", p.name, e.Message)
		} // else it is reported as the error that it is
	case e.State == control.Building:
		// Said by disk, if it takes a while.
	default:
		p.screen.tell("%s: %s", p.name, e.Message)
	}
}

// disk shows how far the store disk is.
func (p *progress) disk(d storedisk.Progress) {
	now := time.Now()
	if now.Sub(p.begin) < quietFor {
		return
	}
	text := diskText(d, now.Sub(p.begin))
	if _, ok := terminal(p.screen.stderr); ok {
		p.screen.update("mvm: " + p.name + ": " + text)
	} else if now.Sub(p.logged) >= logEvery {
		p.logged = now
		p.screen.tell("%s: %s", p.name, text)
	}
}

func diskText(d storedisk.Progress, took time.Duration) string {
	switch {
	case d.Owner > 0:
		return fmt.Sprintf("store disk: waiting for process %d, which makes the same one", d.Owner)
	case d.Total == 0:
		return "store disk: " + d.Stage
	}
	rate := float64(d.Done) / took.Seconds() / 1e6
	return fmt.Sprintf("store disk: %s %d paths, %.0f of %.0f MB, %.0f MB/s",
		d.Stage, d.Paths, float64(d.Done)/1e6, float64(d.Total)/1e6, rate)
}
