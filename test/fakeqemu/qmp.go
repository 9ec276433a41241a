package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const hello = `{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":"fakeqemu"},"capabilities":[]}}`

// send writes one message. That nobody reads is no concern of QEMU's.
func (m *machine) send(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(m.qmp, format+"\r\n", args...)
}

func (m *machine) event(name, data string) {
	now := time.Now()
	m.send(`{"event":%q,"data":%s,"timestamp":{"seconds":%d,"microseconds":%d}}`,
		name, or(data, "{}"), now.Unix(), now.Nanosecond()/1000)
}

// serve speaks QMP until the process exits. QEMU lives on without a monitor.
func (m *machine) serve() error {
	m.greet()
	m.files = &passing{conn: m.qmp}
	r := bufio.NewReader(m.files)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			select {}
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("command %q: %w", line, err)
		}
		if actions, ok := m.on[c.Execute]; ok {
			for _, a := range actions {
				m.do(a, c.ID)
			}
			continue
		}
		m.usual(c)
	}
}

// A command is one with the arguments that matter here.
type command struct {
	Execute   string          `json:"execute"`
	ID        json.RawMessage `json:"id"`
	Arguments struct {
		Implements string `json:"implements"`
		Shutdown   string `json:"shutdown"`
	} `json:"arguments"`
}

func (m *machine) greet() {
	switch m.greeting {
	case "none":
	case "garbage":
		m.send("\x00\xffnot a greeting{")
	case "cut":
		fmt.Fprint(m.qmp, hello[:40])
		m.hangUp()
	case "early-event":
		m.event("NIC_RX_FILTER_CHANGED", "")
		m.send(hello)
	default:
		m.send(hello)
	}
}

// hangUp closes QMP. A descriptor that is being read stays open, so the
// connection itself is shut.
func (m *machine) hangUp() { _ = syscall.Shutdown(int(m.qmp.Fd()), syscall.SHUT_RDWR) }

func (m *machine) do(a action, id json.RawMessage) {
	first, rest, _ := strings.Cut(a.args, " ")
	switch a.verb {
	case "answer":
		m.answer(id, or(a.args, "{}"))
	case "silence":
	case "error":
		m.send(`{"error":{"class":%q,"desc":%q},"id":%s}`, first, rest, id)
	case "event":
		m.event(first, rest)
	case "garbage":
		m.send("]garbage[")
	case "cut":
		fmt.Fprintf(m.qmp, `{"return":{"cu`)
		m.hangUp()
	case "close":
		m.hangUp()
	case "exit":
		code, _ := strconv.Atoi(first) // parseScript has checked it
		os.Exit(code)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "reboot":
		m.end("guest-reset")
	case "sleep":
		d, _ := time.ParseDuration(first)
		time.Sleep(d)
	}
}

func (m *machine) answer(id json.RawMessage, result string) {
	m.send(`{"return":%s,"id":%s}`, result, id)
}

// usual is what QEMU does with a command. Kind is its argument, of one.
func (m *machine) usual(c command) {
	id := c.ID
	switch c.Execute {
	case "query-machines":
		m.answer(id, objects("microvm", "q35", "virt"))
	case "qom-list-types":
		m.answer(id, types(c.Arguments.Implements))
	case "qmp_capabilities":
		m.answer(id, "{}")
		go m.sendEvents()
	case "query-status":
		status := "prelaunch"
		if m.running {
			status = "running"
		}
		m.answer(id, fmt.Sprintf(`{"running":%v,"status":%q}`, m.running, status))
	case "cont":
		m.running = true
		m.event("RESUME", "")
		m.answer(id, "{}")
		if m.port == nil || !m.reset { // else once it has its new port
			m.startGuest()
		}
	case "set-action":
		if c.Arguments.Shutdown == "pause" {
			m.waits.Store(true)
		}
		m.answer(id, "{}")
	case "system_reset":
		m.answer(id, "{}")
		m.started, m.reset = false, true
		m.event("RESET", `{"guest":false,"reason":"host-qmp-system-reset"}`)
	case "chardev-change":
		m.port.Close()
		m.port = os.NewFile(uintptr(m.files.take()), "agent")
		m.answer(id, "{}")
		m.startGuest()
	case "stop":
		m.running = false
		m.event("STOP", "")
		m.answer(id, "{}")
	case "system_powerdown":
		m.answer(id, "{}")
		m.event("POWERDOWN", "")
		m.end("guest-shutdown")
	case "quit":
		m.answer(id, "{}")
		m.event("SHUTDOWN", `{"guest":false,"reason":"host-qmp-quit"}`)
		os.Exit(0)
	default:
		m.answer(id, "{}")
	}
}

// end is what the guest's own end is: QEMU's, unless it was told to wait.
func (m *machine) end(reason string) {
	m.event("SHUTDOWN", fmt.Sprintf(`{"guest":true,"reason":%q}`, reason))
	if !m.waits.Load() {
		os.Exit(0)
	}
	m.event("STOP", "")
}

func (m *machine) sendEvents() {
	for i := 0; i != m.events; i++ {
		m.event("RTC_CHANGE", fmt.Sprintf(`{"offset":%d,"qom-path":"/machine"}`, i))
	}
}

func or(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// passing reads what comes, and keeps the files that come with it.
type passing struct {
	conn *os.File
	fds  []int
}

func (p *passing) Read(b []byte) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := syscall.Recvmsg(int(p.conn.Fd()), b, oob, 0)
	switch {
	case errors.Is(err, syscall.EINTR):
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		fds, ferr := syscall.ParseUnixRights(&messages[i])
		p.fds, err = append(p.fds, fds...), errors.Join(err, ferr)
	}
	return n, err
}

// take returns the last file, or -1.
func (p *passing) take() int {
	if len(p.fds) == 0 {
		return -1
	}
	fd := p.fds[len(p.fds)-1]
	p.fds = p.fds[:len(p.fds)-1]
	return fd
}
