package sdnotify

import (
	"strconv"
	"strings"
)

// A Message is what a guest said of itself at once.
type Message struct {
	// Ready is that the guest has started what it starts with.
	Ready bool

	// Stopping is that the guest is about to end.
	Stopping bool

	// Status is what it does, for people, as it was sent. Empty for nothing said.
	Status string

	// Unit is a unit that has become active, as "multi-user.target". Empty for
	// none.
	Unit string

	// Exit is the status with which the guest ends. Nil for none.
	Exit *int
}

// Parse reads a message: lines of "NAME=value". What it does not know it leaves out,
// as sd_notify(3) has it, and what makes no sense too.
func Parse(b []byte) Message {
	var m Message
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case "READY":
			m.Ready = value == "1"
		case "STOPPING":
			m.Stopping = value == "1"
		case "STATUS":
			m.Status = value
		case "X_SYSTEMD_UNIT_ACTIVE":
			m.Unit = value
		case "EXIT_STATUS":
			if n, err := strconv.ParseUint(value, 10, 8); err == nil {
				status := int(n)
				m.Exit = &status
			}
		}
	}
	return m
}
