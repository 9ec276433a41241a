package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Measured machine can say what it uses. The server asks for it by "GET
// /metrics"; one that cannot is described by its status alone.
type Measured interface {
	// Usage is what the machine uses now. It returns what it can find out
	// before ctx ends.
	Usage(ctx context.Context) Usage
}

// A Usage is what a machine uses of its host.
type Usage struct {
	At         time.Time `json:"at"`                // when this was found out
	Supervisor Process   `json:"supervisor"`        // mvm itself
	Goroutines int       `json:"goroutines"`        // in it
	QEMU       *Process  `json:"qemu,omitempty"`    // nil while there is none
	Answers    bool      `json:"answers"`           // QEMU answered on QMP
	Balloon    int64     `json:"balloon,omitempty"` // bytes of memory the guest has now; 0 if nobody knows
	Plugged    *int64    `json:"plugged,omitempty"` // bytes of memory that virtio-mem adds; nil without it
	Disks      []Disk    `json:"disks,omitempty"`

	// Networks are the interfaces that have a device on the host.
	Networks []Network `json:"networks,omitempty"`
}

// A Process is what the kernel says of one.
type Process struct {
	CPU      time.Duration `json:"cpuNs"`    // user and system time of all its threads
	Resident int64         `json:"resident"` // bytes
	Threads  int           `json:"threads"`
	Files    int           `json:"files"` // open descriptors; -1 if they may not be counted
}

// A Disk is what QEMU counts for one.
type Disk struct {
	Name         string        `json:"name"` // as in the guest's plan: "store", "volume0"
	ReadBytes    int64         `json:"readBytes"`
	WrittenBytes int64         `json:"writtenBytes"`
	Reads        int64         `json:"reads"`
	Writes       int64         `json:"writes"`
	Flushes      int64         `json:"flushes"`
	ReadTime     time.Duration `json:"readNs"`
	WriteTime    time.Duration `json:"writeNs"`
	FailedReads  int64         `json:"failedReads"`
	FailedWrites int64         `json:"failedWrites"`
}

// A Network is what the kernel counts for an interface's device, as the guest sees
// it: what it received and what it sent. The numbers begin when the machine is
// started, and go on over its restarts.
type Network struct {
	Interface       string `json:"interface"` // its id
	ReceivedBytes   uint64 `json:"receivedBytes"`
	SentBytes       uint64 `json:"sentBytes"`
	ReceivedPackets uint64 `json:"receivedPackets"`
	SentPackets     uint64 `json:"sentPackets"`
	ReceivedDropped uint64 `json:"receivedDropped"` // packets that were lost on the way to the guest
	SentDropped     uint64 `json:"sentDropped"`
}

// usageLimit is how long QEMU may take to be asked. A scraper waits 10 s.
const usageLimit = 2 * time.Second

func (h handler) measure(ctx context.Context) Usage {
	m, ok := h.m.(Measured)
	var u Usage
	if ok {
		ctx, cancel := context.WithTimeout(ctx, usageLimit)
		defer cancel()
		u = m.Usage(ctx)
	}
	u.At = time.Now()
	return u
}

func (h handler) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(Metrics(h.m.Status(), h.measure(r.Context())))
}

func (h handler) usage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h.measure(r.Context()))
}

// Metrics returns a machine's state and use in Prometheus's text format.
func Metrics(s Status, u Usage) []byte {
	m := &metrics{machine: s.Name}
	m.gauge("mvm_info", "What the machine is; always 1.", 1, "accel", s.Accel, "kernel", s.Kernel)
	m.family("mvm_state", "gauge", "The state that the machine is in is 1, every other 0.")
	for _, state := range []State{Building, Starting, Booting, Ready, Stopping, Exited} {
		m.sample("mvm_state", b2f(s.State == state), "state", string(state))
	}
	m.gauge("mvm_start_time_seconds", "When the machine was started, since the epoch.", float64(s.Started.UnixMilli())/1000)
	if !u.At.IsZero() {
		m.gauge("mvm_uptime_seconds", "How long it has been since the machine was started.", u.At.Sub(s.Started).Seconds())
		if s.State == Stopping && !s.Since.IsZero() {
			m.gauge("mvm_stopping_seconds", "How long the machine has been stopping.", u.At.Sub(s.Since).Seconds())
		}
	}
	if s.ReadyAfter > 0 {
		m.gauge("mvm_ready_seconds", "How long the guest took from its start to being ready.", s.ReadyAfter.Seconds())
	}
	m.counter("mvm_restarts_total", "How often the machine was started again.", float64(s.Restarts))
	m.gauge("mvm_vcpus", "Virtual processors of the guest.", float64(s.VCPU))
	m.gauge("mvm_memory_bytes", "Memory that the guest was started with.", float64(int64(s.MemMiB)<<20))
	if u.Balloon > 0 {
		m.gauge("mvm_balloon_bytes", "Memory that the balloon leaves the guest.", float64(u.Balloon))
	}
	if u.Plugged != nil {
		m.gauge("mvm_hotplugged_memory_bytes", "Memory that is plugged in beside that.", float64(*u.Plugged))
	}
	m.gauge("mvm_qmp_up", "Whether QEMU answered when it was asked for these numbers.", b2f(u.Answers))
	m.process("mvm_supervisor", "mvm", &u.Supervisor)
	m.gauge("mvm_supervisor_goroutines", "Goroutines of mvm.", float64(u.Goroutines))
	if u.QEMU != nil {
		m.process("mvm_qemu", "QEMU", u.QEMU)
	}
	m.disks(u.Disks)
	m.networks(u.Networks)
	return m.Bytes()
}

// metrics collects samples of one machine.
type metrics struct {
	bytes.Buffer
	machine string
}

func (m *metrics) family(name, kind, help string) {
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample adds a line. Labels are names and values in turn.
func (m *metrics) sample(name string, value float64, labels ...string) {
	fmt.Fprintf(m, "%s{machine=%s", name, quoteLabel(m.machine))
	for i := 0; i+1 < len(labels); i += 2 {
		fmt.Fprintf(m, ",%s=%s", labels[i], quoteLabel(labels[i+1]))
	}
	fmt.Fprintf(m, "} %s\n", strconv.FormatFloat(value, 'f', -1, 64))
}

func (m *metrics) gauge(name, help string, value float64, labels ...string) {
	m.family(name, "gauge", help)
	m.sample(name, value, labels...)
}

func (m *metrics) counter(name, help string, value float64) {
	m.family(name, "counter", help)
	m.sample(name, value)
}

func (m *metrics) process(prefix, who string, p *Process) {
	m.counter(prefix+"_cpu_seconds_total", "Processor time that "+who+" has used.", p.CPU.Seconds())
	m.gauge(prefix+"_resident_memory_bytes", "Memory of "+who+" that is in RAM.", float64(p.Resident))
	m.gauge(prefix+"_threads", "Threads of "+who+".", float64(p.Threads))
	if p.Files >= 0 {
		m.gauge(prefix+"_open_fds", "Open descriptors of "+who+".", float64(p.Files))
	}
}

func (m *metrics) disks(disks []Disk) {
	if len(disks) == 0 {
		return
	}
	for _, f := range []struct {
		name, help string
		value      func(*Disk) float64
	}{
		{"read_bytes", "Bytes that the guest has read.", func(d *Disk) float64 { return float64(d.ReadBytes) }},
		{"written_bytes", "Bytes that the guest has written.", func(d *Disk) float64 { return float64(d.WrittenBytes) }},
		{"reads", "Reads of the guest that were done.", func(d *Disk) float64 { return float64(d.Reads) }},
		{"writes", "Writes of the guest that were done.", func(d *Disk) float64 { return float64(d.Writes) }},
		{"flushes", "Flushes of the guest that were done.", func(d *Disk) float64 { return float64(d.Flushes) }},
		{"read_seconds", "Time that reads have taken.", func(d *Disk) float64 { return d.ReadTime.Seconds() }},
		{"write_seconds", "Time that writes have taken.", func(d *Disk) float64 { return d.WriteTime.Seconds() }},
		{"failed_reads", "Reads that the host could not carry out.", func(d *Disk) float64 { return float64(d.FailedReads) }},
		{"failed_writes", "Writes that the host could not carry out.", func(d *Disk) float64 { return float64(d.FailedWrites) }},
	} {
		name := "mvm_disk_" + f.name + "_total"
		m.family(name, "counter", f.help)
		for i := range disks {
			m.sample(name, f.value(&disks[i]), "disk", disks[i].Name)
		}
	}
}

func (m *metrics) networks(networks []Network) {
	if len(networks) == 0 {
		return
	}
	for _, f := range []struct {
		name, help string
		value      func(*Network) uint64
	}{
		{"received_bytes", "Bytes that came for the guest.", func(n *Network) uint64 { return n.ReceivedBytes }},
		{"sent_bytes", "Bytes that the guest has sent.", func(n *Network) uint64 { return n.SentBytes }},
		{"received_packets", "Packets that came for the guest.", func(n *Network) uint64 { return n.ReceivedPackets }},
		{"sent_packets", "Packets that the guest has sent.", func(n *Network) uint64 { return n.SentPackets }},
		{"received_dropped", "Packets for the guest that were lost.", func(n *Network) uint64 { return n.ReceivedDropped }},
		{"sent_dropped", "Packets of the guest that were lost.", func(n *Network) uint64 { return n.SentDropped }},
	} {
		name := "mvm_network_" + f.name + "_total"
		m.family(name, "counter", f.help)
		for i := range networks {
			m.sample(name, float64(f.value(&networks[i])), "interface", networks[i].Interface)
		}
	}
}

// quoteLabel is a label's value as the text format wants it.
func quoteLabel(s string) string {
	s = strings.ToValidUTF8(s, "?")
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
