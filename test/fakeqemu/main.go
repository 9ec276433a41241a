package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

func main() {
	if help(os.Args) {
		return
	}
	text := os.Getenv("FAKEQEMU_SCRIPT")
	if probing(os.Args) {
		text = ""
	}
	s, err := parseScript(text)
	if err == nil {
		err = run(s, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakeqemu:", err)
		os.Exit(99)
	}
}

// A machine is the fake QEMU at work.
type machine struct {
	*script
	qmp, tty, port *os.File // tty and port may be nil

	mu      sync.Mutex // held while a message is written
	running bool
	started bool        // the guest was, since the last reset
	reset   bool        // the machine was
	waits   atomic.Bool // for a word when the guest has ended
	files   *passing    // that come with commands
}

func run(s *script, args []string) error {
	for _, line := range s.stderr {
		fmt.Fprintln(os.Stderr, line)
	}
	if s.exit >= 0 {
		os.Exit(s.exit)
	}
	m := &machine{script: s, qmp: chardev(args, "qmp"), tty: chardev(args, "console"), port: chardev(args, "agent")}
	if m.qmp == nil {
		return fmt.Errorf("no -chardev socket,id=qmp,fd=N in %q", args)
	}
	go m.signals()
	return m.serve()
}

// chardev returns the descriptor of the character device called id.
func chardev(args []string, id string) *os.File {
	for i := 1; i < len(args); i++ {
		if args[i-1] != "-chardev" {
			continue
		}
		opts := strings.Split(args[i], ",")
		if opts[0] != "socket" || len(opts) < 2 || opts[1] != "id="+id {
			continue
		}
		for _, o := range opts[2:] {
			if n, err := strconv.Atoi(strings.TrimPrefix(o, "fd=")); err == nil {
				return os.NewFile(uintptr(n), id)
			}
		}
	}
	return nil
}

// signals ends the process on SIGTERM, as QEMU does: with a word and status 0.
func (m *machine) signals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	for range c {
		if !m.ignoreTerm {
			m.event("SHUTDOWN", `{"guest":false,"reason":"host-signal"}`)
			os.Exit(0)
		}
	}
}
