// Benchboot measures what mvm adds to the boot of a guest. It boots, in turn,
//
//	(a) QEMU started by hand, with mvm's own flags, the definition's kernel, and
//	    an initrd that is a bare busybox, until the first line of its init;
//	(u) the same with the kernel unpacked, as mvm boots it under TCG;
//	(b) mvm run with a cached store disk, until it says that the guest is ready;
//	(c) mvm run, until it executes QEMU;
//
// and prints medians, ratios, and the memory of the supervising mvm.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mvmrun/mvm/vm"
	"github.com/mvmrun/mvm/vm/initrd"
)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("n", 11, "number of rounds")
	mvm := flag.String("mvm", "build/mvm", "the mvm to measure")
	definition := flag.String("definition", "examples/myvm/myvm.toml", "what to boot")
	flag.Parse()

	dir, err := os.MkdirTemp("", "mvm-bench-")
	check(err)
	defer os.RemoveAll(dir)
	for _, d := range []string{"STATE", "RUNTIME", "CACHE"} {
		check(os.Setenv("MVM_"+d+"_DIR", filepath.Join(dir, strings.ToLower(d))))
	}
	b := &bench{mvm: abs(*mvm), definition: abs(*definition), dir: dir}
	b.prepare()
	var hand, unpacked, ready, exec []time.Duration
	var rss []int
	for i := range *rounds {
		hand = append(hand, b.byHand(b.kernel))
		unpacked = append(unpacked, b.byHand(b.unpacked))
		d, kib := b.untilReady()
		ready, rss = append(ready, d), append(rss, kib)
		exec = append(exec, b.untilExec())
		fmt.Fprintf(os.Stderr, "round %d: by hand %v, unpacked %v, ready %v, exec %v, %d KiB\n", i+1, ms(hand[i]), ms(unpacked[i]), ms(ready[i]), ms(exec[i]), kib)
	}
	a, u, r, x := median(hand), median(unpacked), median(ready), median(exec)
	slices.Sort(rss)
	fmt.Printf("medians of %d interleaved rounds\n", *rounds)
	fmt.Printf("(a) QEMU by hand, to the first line of a bare init  %8s\n", ms(a))
	fmt.Printf("(u) the same with the kernel unpacked               %8s\n", ms(u))
	fmt.Printf("(b) mvm run, to the guest being ready               %8s  %.2f × (a), %.2f × (u)\n", ms(r), float64(r)/float64(a), float64(r)/float64(u))
	fmt.Printf("(c) mvm run, to the execution of QEMU               %8s\n", ms(x))
	fmt.Printf("    RSS of mvm while the guest runs                 %6.1f MiB\n", float64(rss[len(rss)/2])/1024)
}

type bench struct {
	mvm, definition, dir string
	argv                 []string // of QEMU, for a start by hand, without a kernel
	kernel, unpacked     string
}

// prepare makes the store disk, the bare initrd, and the command by hand.
func (b *bench) prepare() {
	run := exec.Command(b.mvm, "run", b.definition, "--", "true")
	if out, err := run.CombinedOutput(); err != nil {
		log.Fatalf("%v: %v\n%s", run, err, out)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	check(err)
	bare := filepath.Join(b.dir, "bare.initrd")
	f, err := os.Create(bare)
	check(err)
	check(initrd.Archive(f, []initrd.File{
		{Path: "/bin/busybox", Mode: initrd.Regular | 0o755, Data: busybox},
		{Path: "/init", Mode: initrd.Regular | 0o755, Data: []byte("#!/bin/busybox sh\necho FIRST-LINE\nexec /bin/busybox sleep 1000\n")},
		{Path: "/dev/console", Mode: initrd.CharDev | 0o600, Major: 5, Minor: 1},
	}))
	check(f.Close())

	c, err := vm.Load(b.definition)
	check(err)
	img, err := c.Resolve()
	check(err)
	b.kernel = img.Kernel

	out, err := exec.Command(b.mvm, "argv", "--json", b.definition).Output()
	check(err)
	var flags []struct{ Args []string }
	check(json.Unmarshal(out, &flags))
	for _, fl := range flags {
		switch line := strings.Join(fl.Args, " "); {
		case line == "-S", strings.Contains(line, "id=qmp"), strings.Contains(line, "chardev=qmp"):
		case strings.Contains(line, "id=console"):
			b.argv = append(b.argv, "-chardev", "stdio,id=console,signal=off")
		case strings.Contains(line, "id=agent"):
			b.argv = append(b.argv, "-chardev", "null,id=agent")
		case fl.Args[0] == "-kernel":
			b.unpacked = fl.Args[1]
		case fl.Args[0] == "-initrd":
			b.argv = append(b.argv, "-initrd", bare)
		case strings.Contains(line, "store-disk"):
			// The link is gone with the machine; the image is in the cache.
			images, err := filepath.Glob(filepath.Join(b.dir, "cache", "*.erofs"))
			check(err)
			link := filepath.Join(b.dir, "runtime", "myvm", "store-disk")
			b.argv = append(b.argv, fl.Args[0], strings.Replace(fl.Args[1], link, images[0], 1))
		default:
			b.argv = append(b.argv, fl.Args...)
		}
	}
}

// byHand is (a) and (u).
func (b *bench) byHand(kernel string) time.Duration {
	begin := time.Now()
	return b.until(begin, exec.Command(b.argv[0], append(b.argv[1:], "-kernel", kernel)...), "FIRST-LINE", nil)
}

// untilReady is (b), and the supervisor's resident memory in KiB.
func (b *bench) untilReady() (took time.Duration, kib int) {
	begin := time.Now()
	took = b.until(begin, exec.Command(b.mvm, "run", b.definition), "ready after", func(pid int) {
		kib = residentKiB(pid)
	})
	return took, kib
}

// untilExec is (c): QEMU's place is taken by a shell script that says when it
// was started, which takes about 2 ms by itself.
func (b *bench) untilExec() time.Duration {
	script := filepath.Join(b.dir, "qemu.sh")
	stamp := filepath.Join(b.dir, "stamp")
	check(os.WriteFile(script, []byte("#!/bin/sh\ndate +%s%N >"+stamp+"\n"), 0o755))
	text, err := os.ReadFile(b.definition)
	check(err)
	def := filepath.Join(b.dir, "myvm.toml")
	top := abs(filepath.Join(filepath.Dir(b.definition), "../../build/myvm"))
	text = bytes.Replace(text, []byte(`"../../build/myvm"`), []byte(strconv.Quote(top)), 1)
	check(os.WriteFile(def, append(text, []byte("\n[qemu]\npackage = "+strconv.Quote(script)+"\n")...), 0o644))
	begin := time.Now()
	_ = exec.Command(b.mvm, "run", def).Run() // fails, since the script is no QEMU
	at, err := os.ReadFile(stamp)
	check(err)
	ns, err := strconv.ParseInt(strings.TrimSpace(string(at)), 10, 64)
	check(err)
	return time.Unix(0, ns).Sub(begin)
}

// until starts cmd, waits for a line that holds sign, calls then, and ends cmd.
func (b *bench) until(begin time.Time, cmd *exec.Cmd, sign string, then func(pid int)) time.Duration {
	r, w, err := os.Pipe()
	check(err)
	cmd.Stdout, cmd.Stderr = w, w
	check(cmd.Start())
	w.Close()
	limit := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	var said bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(r, &said))
	for lines.Scan() {
		if strings.Contains(lines.Text(), sign) {
			took := time.Since(begin)
			if then != nil {
				then(cmd.Process.Pid)
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_, _ = io.Copy(io.Discard, r)
			_ = cmd.Wait()
			return took
		}
	}
	log.Fatalf("%v: never said %q\n%s", cmd.Args, sign, said.Bytes())
	return 0
}

func residentKiB(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			check(err)
			return n
		}
	}
	return 0
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

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
