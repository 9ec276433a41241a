package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A script is what to do. The zero value is a healthy QEMU.
type script struct {
	greeting     string
	stderr       []string
	console      []string
	consoleFlood bool
	agent        string // "", "ready", "silent", "garbage" or "flood"
	mountInfo    string // a file
	events       int    // -1 means without end
	ignoreTerm   bool
	exit         int // -1 means not at once
	on           map[string][]action
}

// An action is a verb with its arguments.
type action struct {
	verb string
	args string
}

func parseScript(text string) (*script, error) {
	s := &script{exit: -1, on: map[string][]action{}}
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ';' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := s.directive(line); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	return s, nil
}

func (s *script) directive(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "greeting":
		s.greeting = rest
		return oneOf(rest, "none", "garbage", "cut", "early-event")
	case "stderr":
		s.stderr = append(s.stderr, rest)
	case "console":
		s.console = append(s.console, rest)
	case "console-flood":
		s.consoleFlood = true
	case "agent":
		s.agent, s.mountInfo, _ = strings.Cut(rest, " ")
		return oneOf(s.agent, "ready", "silent", "garbage", "flood")
	case "events":
		s.events, err = strconv.Atoi(rest)
	case "flood":
		s.events = -1
	case "sigterm":
		s.ignoreTerm = true
		return oneOf(rest, "ignore")
	case "exit":
		s.exit, err = strconv.Atoi(rest)
	case "on":
		command, what, _ := strings.Cut(rest, " ")
		return s.addAction(command, strings.TrimSpace(what))
	default:
		err = fmt.Errorf("unknown directive %q", word)
	}
	return err
}

func (s *script) addAction(command, what string) (err error) {
	a := action{}
	a.verb, a.args, _ = strings.Cut(what, " ")
	switch a.verb {
	case "answer", "silence", "error", "event", "garbage", "cut", "close", "kill", "reboot":
	case "exit":
		_, err = strconv.Atoi(a.args)
	case "sleep":
		_, err = time.ParseDuration(a.args)
	default:
		err = fmt.Errorf("unknown action %q", a.verb)
	}
	s.on[command] = append(s.on[command], a)
	return err
}

func oneOf(got string, want ...string) error {
	if slices.Contains(want, got) {
		return nil
	}
	return fmt.Errorf("%q; want one of %q", got, want)
}
