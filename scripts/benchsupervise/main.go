// Benchsupervise measures what mvm's supervising costs, with a stand-in for QEMU
// whose guest is ready at once and powers off at once:
//
//	stop   from "mvm stop" being executed to its return, when all is gone
//	death  from QEMU's SIGKILL to mvm's word about it
//	ps     "mvm ps" with many machines
//	idle   memory of a supervisor, and how often its threads wake up
//
// It prints medians.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mvmrun/mvm/vm/control"
)

const mounts = `1 1 0:2 / / rw - tmpfs rootfs rw
22 1 253:0 / /nix/store ro - erofs /dev/vda ro
`

func main() {
	log.SetFlags(0)
	rounds := flag.Int("n", 21, "number of rounds")
	many := flag.Int("many", 100, "how many machines mvm ps lists")
	mvm := flag.String("mvm", "build/mvm", "the mvm to measure")
	fake := flag.String("fake", "build/fakeqemu", "the stand-in for QEMU")
	toplevel := flag.String("toplevel", "build/myvm", "the system of the machines")
	flag.Parse()

	dir, err := os.MkdirTemp("", "mvm-bench-")
	check(err)
	defer os.RemoveAll(dir)
	for _, d := range []string{"STATE", "RUNTIME", "CACHE"} {
		check(os.Setenv("MVM_"+d+"_DIR", filepath.Join(dir, strings.ToLower(d))))
	}
	info := filepath.Join(dir, "mountinfo")
	check(os.WriteFile(info, []byte(mounts), 0o644))
	check(os.Setenv("FAKEQEMU_SCRIPT", "agent ready "+info))
	b := &bench{mvm: abs(*mvm), dir: dir, text: fmt.Sprintf("toplevel = %q\nmem = 256\nqemu.package = %q\n", abs(*toplevel), abs(*fake))}

	var stop, death, ps []time.Duration
	for range *rounds {
		stop = append(stop, b.stop())
		death = append(death, b.death())
	}
	fmt.Printf("stop   %v\n", median(stop))
	fmt.Printf("death  %v\n", median(death))

	var running []*machine
	for i := range *many {
		m := b.start(fmt.Sprintf("m%d", i))
		running = append(running, m)
	}
	for range *rounds {
		begin := time.Now()
		out, err := exec.Command(b.mvm, "ps").Output()
		check(err)
		ps = append(ps, time.Since(begin))
		if n := strings.Count(string(out), " ready "); n != *many {
			log.Fatalf("mvm ps lists %d machines that are ready; want %d", n, *many)
		}
	}
	fmt.Printf("ps     %v with %d machines\n", median(ps), *many)
	rss, wakeups := running[0].idle(5 * time.Second)
	fmt.Printf("idle   %d KiB, %.1f wake-ups a second\n", rss, wakeups)
	for _, m := range running {
		check(m.cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, m := range running {
		m.end()
	}
}

type bench struct{ mvm, dir, text string }

// A machine is an mvm that runs, and what it says.
type machine struct {
	b     *bench
	name  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// start returns when the guest is ready.
func (b *bench) start(name string) *machine {
	file := filepath.Join(b.dir, name+".toml")
	check(os.WriteFile(file, []byte(b.text), 0o644))
	m := &machine{b: b, name: name, cmd: exec.Command(b.mvm, "run", file)}
	stderr, err := m.cmd.StderrPipe()
	check(err)
	m.lines = bufio.NewScanner(stderr)
	check(m.cmd.Start())
	m.await(": ready after ")
	return m
}

func (m *machine) await(text string) {
	for m.lines.Scan() {
		if strings.Contains(m.lines.Text(), text) {
			return
		}
	}
	log.Fatalf("%s ended without %q", m.name, text)
}

func (m *machine) end() {
	for m.lines.Scan() {
	}
	_ = m.cmd.Wait() // how it ends is not what is measured
}

func (b *bench) stop() time.Duration {
	m := b.start("stop")
	begin := time.Now()
	check(exec.Command(b.mvm, "stop", m.name).Run())
	took := time.Since(begin)
	m.end()
	return took
}

func (b *bench) death() time.Duration {
	m := b.start("death")
	out, err := exec.Command(b.mvm, "status", "--json", m.name).Output()
	check(err)
	var s control.Status
	check(json.Unmarshal(out, &s))
	begin := time.Now()
	check(syscall.Kill(s.QEMU, syscall.SIGKILL))
	m.await("QEMU was ended by signal 9")
	took := time.Since(begin)
	m.end()
	return took
}

// idle returns mvm's memory and how often its threads have given up the processor
// of their own accord, which is how often they were woken.
func (m *machine) idle(d time.Duration) (rssKiB int, perSecond float64) {
	before := m.switches()
	time.Sleep(d)
	after := m.switches()
	return m.number("status", "VmRSS:"), float64(after-before) / d.Seconds()
}

func (m *machine) switches() int {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", m.cmd.Process.Pid))
	check(err)
	n := 0
	for _, t := range tasks {
		n += m.number(filepath.Join("task", filepath.Base(t), "status"), "voluntary_ctxt_switches:")
	}
	return n
}

func (m *machine) number(file, key string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", m.cmd.Process.Pid, file))
	check(err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			check(err)
			return n
		}
	}
	log.Fatalf("no %s in %s", key, file)
	return 0
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(100 * time.Microsecond)
}

func abs(path string) string {
	p, err := filepath.Abs(path)
	check(err)
	return p
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
