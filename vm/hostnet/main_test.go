package hostnet

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs the test in a network namespace of its own. The namespace is
// the thread's, so the thread ends with the test.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v (run as root)", err)
	}
	// ip(8) wants a /sys of the namespace for bridges; netlink does without.
	ip(t, "link", "set", "lo", "up")
}

// ip runs ip(8) in the test's namespace: a child is in that of the thread that
// starts it.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %q: %v (install iproute2)\n%s", args, err, out)
	}
	return string(out)
}

// A shown is what ip(8) shows of a device.
type shown struct {
	Index   int      `json:"ifindex"`
	Name    string   `json:"ifname"`
	Flags   []string `json:"flags"`
	Master  string   `json:"master"`
	Link    string   `json:"link"`
	Address string   `json:"address"`
	Alias   string   `json:"ifalias"`
	Info    struct {
		Kind string `json:"info_kind"`
		Data struct {
			Type       string `json:"type"`
			Mode       string `json:"mode"`
			PI         bool   `json:"pi"`
			VNetHdr    bool   `json:"vnet_hdr"`
			MultiQueue bool   `json:"multi_queue"`
			NumQueues  int    `json:"numqueues"`
			Persist    bool   `json:"persist"`
			User       any    `json:"user"` // a name, or a number that has none
			Group      any    `json:"group"`
		} `json:"info_data"`
	} `json:"linkinfo"`
}

// show returns all devices of the namespace but the loopback, by name.
func show(t *testing.T) map[string]shown {
	t.Helper()
	var all []shown
	out := ip(t, "-d", "-j", "link", "show")
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	devices := make(map[string]shown)
	for _, s := range all {
		if s.Name != "lo" {
			devices[s.Name] = s
		}
	}
	return devices
}

// openFiles returns how many descriptors this process has.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
