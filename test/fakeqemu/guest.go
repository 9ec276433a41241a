package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// startGuest is what happens once the CPUs run.
func (m *machine) startGuest() {
	if m.started {
		return
	}
	m.started = true
	if m.tty != nil {
		go m.talk()
	}
	if m.port != nil && m.agent != "" {
		go m.serveAgent(m.port)
	}
}

func (m *machine) talk() {
	for _, line := range m.console {
		fmt.Fprintf(m.tty, "%s\r\n", line)
	}
	for m.consoleFlood {
		if _, err := m.tty.WriteString(strings.Repeat("all work and no play\r\n", 100)); err != nil {
			return
		}
	}
}

func (m *machine) serveAgent(port *os.File) {
	switch m.agent {
	case "garbage":
		port.WriteString("\xff\xff\xff\xffgarbage")
	case "flood":
		for frame(port, handoff.KindPong, nil) == nil {
		}
	case "ready":
		m.beReady(port)
	}
}

// beReady is a guest that boots at once and powers off when told.
func (m *machine) beReady(port *os.File) {
	info, err := os.ReadFile(m.mountInfo)
	if err != nil && m.mountInfo != "" {
		fmt.Fprintln(os.Stderr, "fakeqemu:", err)
		os.Exit(99)
	}
	_ = frame(port, handoff.KindHello, handoff.Hello{Version: handoff.Version, Kernel: "fake"})
	_ = frame(port, handoff.KindReady, handoff.Ready{MountInfo: string(info)})
	for {
		f, err := handoff.ReadFrame(port)
		if err != nil {
			return
		}
		switch f.Kind {
		case handoff.KindPing:
			f.Kind = handoff.KindPong
			_, _ = port.Write(handoff.AppendFrame(nil, f))
		case handoff.KindPoweroff:
			m.end("guest-shutdown")
		}
	}
}

func frame(port *os.File, k handoff.Kind, v any) error {
	f, err := handoff.JSON(k, 0, v)
	if err == nil {
		_, err = port.Write(handoff.AppendFrame(nil, f))
	}
	return err
}
