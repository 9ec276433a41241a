package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// startGuest is what happens once the CPUs run.
func (m *machine) startGuest() {
	if m.tty != nil {
		go m.talk()
	}
	if m.port != nil && m.agent != "" {
		go m.serveAgent()
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

func (m *machine) serveAgent() {
	switch m.agent {
	case "garbage":
		m.port.WriteString("\xff\xff\xff\xffgarbage")
	case "flood":
		for m.frame(handoff.KindPong, nil) == nil {
		}
	case "ready":
		m.beReady()
	}
}

// beReady is a guest that boots at once and powers off when told.
func (m *machine) beReady() {
	info, err := os.ReadFile(m.mountInfo)
	if err != nil && m.mountInfo != "" {
		fmt.Fprintln(os.Stderr, "fakeqemu:", err)
		os.Exit(99)
	}
	_ = m.frame(handoff.KindHello, handoff.Hello{Version: handoff.Version, Kernel: "fake"})
	_ = m.frame(handoff.KindReady, handoff.Ready{MountInfo: string(info)})
	for {
		f, err := handoff.ReadFrame(m.port)
		if err != nil {
			return
		}
		switch f.Kind {
		case handoff.KindPing:
			f.Kind = handoff.KindPong
			_, _ = m.port.Write(handoff.AppendFrame(nil, f))
		case handoff.KindPoweroff:
			m.powerOff()
		}
	}
}

func (m *machine) frame(k handoff.Kind, v any) error {
	f, err := handoff.JSON(k, 0, v)
	if err == nil {
		_, err = m.port.Write(handoff.AppendFrame(nil, f))
	}
	return err
}
