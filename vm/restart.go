package vm

import (
	"context"
	"fmt"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

// A restarter decides whether a machine that ended is started again.
type restarter struct {
	policy string // the definition's
	limit  int    // how many restarts window may see; 0 is any number
	window time.Duration
	times  []time.Time // of the restarts within the window, oldest first
}

func newRestarter(c *Config) *restarter {
	r := &restarter{policy: c.RestartPolicy()}
	r.limit, r.window = c.RestartLimits()
	return r
}

// again reports whether to start the machine again after it ended as exit says.
// When the limit stands against it, the exit says so.
func (r *restarter) again(exit *control.Exit, now time.Time) bool {
	if !r.wants(exit) {
		return false
	}
	for len(r.times) > 0 && now.Sub(r.times[0]) >= r.window {
		r.times = r.times[1:]
	}
	if r.limit > 0 && len(r.times) >= r.limit {
		exit.Detail = fmt.Sprintf("%s; it was restarted %d times within %v, which is enough", orReason(exit), r.limit, r.window)
		exit.Hint = "find out why it ends (mvm why), or raise restartLimit"
		return false
	}
	r.times = append(r.times, now)
	return true
}

// wants is the policy alone. Whoever asked for the end gets it, under any
// policy; "on-failure" means what systemd means by it.
func (r *restarter) wants(exit *control.Exit) bool {
	switch exit.Reason {
	case control.Stopped, control.Killed, control.NotStarted:
		return false
	case control.GuestReboot:
		return r.policy != "never"
	}
	switch r.policy {
	case "always":
		return true
	case "on-failure":
		return exit.Reason != control.GuestPoweroff || exit.Status != nil && *exit.Status != 0
	}
	return false
}

// again reports whether the machine is to be started again, and counts it.
func (s *supervisor) again(ctx context.Context, exit *control.Exit) bool {
	switch {
	case s.o.Command != nil:
		return false
	case ctx.Err() != nil:
		if s.restarts.wants(exit) { // it was not to be its last
			*exit = control.Exit{Reason: control.Stopped}
		}
		return false
	case s.granted:
		s.granted = false
		return true
	}
	return s.restarts.again(exit, time.Now())
}

func orReason(exit *control.Exit) string {
	if exit.Detail != "" {
		return exit.Detail
	}
	return string(exit.Reason)
}
