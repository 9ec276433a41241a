package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/guest/agent"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// virtioPorts is where the kernel names the ports of virtio-serial.
const virtioPorts = "/sys/class/virtio-ports"

// openPort opens the agent's port, waiting for it until the limit.
//
// The file does not block: while the host does not read, a blocking write
// spins in the kernel with interrupts off (__send_to_port of
// drivers/char/virtio_console.c).
func openPort(events uevents, limit time.Duration) (int, error) {
	op := "open the virtio-serial port " + handoff.PortName
	until := time.Now().Add(limit)
	for {
		if name := findPort(virtioPorts); name != "" {
			fd, err := unix.Open("/dev/"+name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return -1, &Failure{Op: op, Err: err}
			}
			return fd, nil
		}
		if !events.wait(until) {
			return -1, &Failure{Op: op, Err: fmt.Errorf("it did not appear within %v", limit)}
		}
	}
}

// findPort returns the name of the agent's device in /dev, or "".
func findPort(class string) string {
	entries, _ := os.ReadDir(class)
	for _, e := range entries {
		b, _ := os.ReadFile(filepath.Join(class, e.Name(), "name"))
		if strings.TrimSpace(string(b)) == handoff.PortName {
			return e.Name()
		}
	}
	return ""
}

// sayHello sends the first frame of the channel. It returns false if the host
// is not there to hear it; the agent then says it when the host comes.
func sayHello(port int) bool {
	f, err := agent.Hello()
	if err != nil {
		return false
	}
	b := handoff.AppendFrame(nil, f)
	n, err := unix.Write(port, b)
	return err == nil && n == len(b)
}
