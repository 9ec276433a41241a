package control

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	metricLine = regexp.MustCompile(`^([^{ ]+)\{(.*)\} (\S+)$`)
	labelPair  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)`)
)

// parseMetrics reads Prometheus's text format as strictly as "promtool check
// metrics" does, and returns the samples.
func parseMetrics(text string) (map[string]float64, error) {
	samples := make(map[string]float64)
	kinds := make(map[string]string)
	help, current := "", ""
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		wrong := func(why string) error { return fmt.Errorf("line %d: %s: %s", i+1, why, line) }
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, text, _ := strings.Cut(rest, " ")
			if text == "" || kinds[name] != "" {
				return nil, wrong("no help, or a second one")
			}
			help = name
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			switch {
			case name != help || !metricName.MatchString(name):
				return nil, wrong("no help before it, or no name")
			case kind != "gauge" && kind != "counter":
				return nil, wrong("unknown type")
			case (kind == "counter") != strings.HasSuffix(name, "_total"):
				return nil, wrong("counters end in _total, and nothing else does")
			}
			kinds[name], current = kind, name
			continue
		}
		m := metricLine.FindStringSubmatch(line)
		if m == nil || m[1] != current {
			return nil, wrong("not a sample of " + current)
		}
		seen := make(map[string]bool)
		for labels := m[2]; labels != ""; {
			pair := labelPair.FindStringSubmatch(labels)
			if pair == nil || seen[pair[1]] {
				return nil, wrong("bad labels")
			}
			seen[pair[1]] = true
			labels = labels[len(pair[0]):]
		}
		value, err := strconv.ParseFloat(m[3], 64)
		key := m[1] + "{" + m[2] + "}"
		if _, again := samples[key]; err != nil || again {
			return nil, wrong("no number, or a second time")
		}
		samples[key] = value
	}
	return samples, nil
}

func TestMetricsAreWellFormed(t *testing.T) {
	s := Status{
		Name: "my\"vm\\\n", State: Ready, Started: time.UnixMilli(1_700_000_000_250), ReadyAfter: 1500 * time.Millisecond,
		Accel: "tcg", VCPU: 2, MemMiB: 512, Restarts: 3, Kernel: "6.1 \xff",
	}
	u := Usage{
		Supervisor: Process{CPU: time.Second, Resident: 1 << 20, Threads: 9, Files: 12}, Goroutines: 7,
		QEMU: &Process{CPU: 90 * time.Second, Resident: 3 << 30, Threads: 4, Files: -1}, Answers: true, Balloon: 1 << 28,
		Disks:    []Disk{{Name: "store", ReadBytes: 1 << 40}, {Name: "volume0", Writes: 5, WriteTime: time.Millisecond}},
		Networks: []Network{{Interface: "vm-web", SentBytes: 1 << 50, ReceivedDropped: 2}},
	}
	got, err := parseMetrics(string(Metrics(s, u)))
	if err != nil {
		t.Fatal(err)
	}
	const name = `machine="my\"vm\\\n"`
	for key, want := range map[string]float64{
		"mvm_info{" + name + `,accel="tcg",kernel="6.1 ?"}`:         1,
		"mvm_state{" + name + `,state="ready"}`:                     1,
		"mvm_state{" + name + `,state="exited"}`:                    0,
		"mvm_start_time_seconds{" + name + "}":                      1_700_000_000.25,
		"mvm_ready_seconds{" + name + "}":                           1.5,
		"mvm_restarts_total{" + name + "}":                          3,
		"mvm_memory_bytes{" + name + "}":                            512 << 20,
		"mvm_balloon_bytes{" + name + "}":                           1 << 28,
		"mvm_qmp_up{" + name + "}":                                  1,
		"mvm_qemu_cpu_seconds_total{" + name + "}":                  90,
		"mvm_supervisor_open_fds{" + name + "}":                     12,
		"mvm_disk_read_bytes_total{" + name + `,disk="store"}`:      1 << 40,
		"mvm_disk_write_seconds_total{" + name + `,disk="volume0"}`: 0.001,
		"mvm_disk_failed_writes_total{" + name + `,disk="volume0"}`: 0,

		"mvm_network_sent_bytes_total{" + name + `,interface="vm-web"}`:       1 << 50,
		"mvm_network_received_dropped_total{" + name + `,interface="vm-web"}`: 2,
		"mvm_supervisor_resident_memory_bytes{" + name + "}":                  1 << 20,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s = %v, %v; want %v", key, v, ok, want)
		}
	}
	for key := range got {
		if strings.HasPrefix(key, "mvm_qemu_open_fds") {
			t.Errorf("%s is there, though nobody could count", key)
		}
	}
	// One that has only just been started has no QEMU and no disks.
	got, err = parseMetrics(string(Metrics(Status{Name: "new", State: Building}, Usage{})))
	if _, ok := got[`mvm_ready_seconds{machine="new"}`]; ok || err != nil {
		t.Errorf("a new machine has been ready, %v", err)
	}
}

func TestMetricsAreServed(t *testing.T) {
	_, c := serve(t, filepath.Join(t.TempDir(), "s"))
	resp, err := c.do(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseMetrics(string(b))
	if err != nil || got[`mvm_state{machine="myvm",state="ready"}`] != 1 {
		t.Errorf("GET /metrics = %s, %v; want the state of a ready machine", b, err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("its content type is %q", kind)
	}
}
