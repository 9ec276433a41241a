// Benchstore measures how long store disks take to make: by mvm, by the tools
// that there are for it, and by cat, which is the bound. It does so in rounds,
// each of which runs everything once, since machines drift; and it says which
// of the project's wants are met. scripts/bench-store runs it.
//
// Everything is measured as a process of its own, from its start to its end,
// with a warm page cache. Nothing that is compared is synced.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench-store: ")
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		if err := work(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	b := &bench{results: newResults()}
	flag.IntVar(&b.rounds, "n", 5, "how many rounds to run")
	flag.BoolVar(&b.quick, "quick", false, "run 3 rounds of cat, erofs, and updates")
	only := flag.String("only", "", "run only the full builds whose names match this regular expression, besides cat and mkfs.erofs")
	flag.StringVar(&b.closures, "closures", "build/closure-1g", "the directory that scripts/make-closure made")
	flag.StringVar(&b.store, "store", "/nix/store", "the directory that holds the closures' paths")
	flag.StringVar(&b.mvm, "mvm", "build/mvm", "the mvm whose run is measured")
	flag.StringVar(&b.dir, "dir", "build", "where to put 6 GB meanwhile")
	flag.Parse()
	if b.quick {
		b.rounds = min(b.rounds, 3)
	}
	b.only = regexp.MustCompile(*only)
	if err := b.run(); err != nil {
		log.Fatal(err)
	}
}

// A bench is one run of this program.
type bench struct {
	rounds               int
	quick                bool
	only                 *regexp.Regexp
	closures, store, mvm string
	dir                  string // for everything that is made
	stage                string // below it: a copy of closure 1
	results              *results
}

// needed is the room for the copy, two caches, an image that is made while
// another is in use, and what the host does not free at once.
const needed = 8 << 30

func (b *bench) run() (err error) {
	var free unix.Statfs_t
	if err := unix.Statfs(b.dir, &free); err != nil {
		return fmt.Errorf("%s: %w", b.dir, err)
	}
	if room := int64(free.Bavail) * free.Bsize; room < needed {
		return fmt.Errorf("%s has %d MB free; %d are needed", b.dir, room/1e6, int64(needed)/1e6)
	}
	for _, p := range []*string{&b.closures, &b.mvm, &b.dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if b.dir, err = os.MkdirTemp(b.dir, "bench-store-"); err != nil {
		return err
	}
	defer func() {
		// A copy of a store cannot be removed before it can be written to.
		_ = exec.Command("chmod", "-R", "u+w", b.dir).Run()
		if rerr := os.RemoveAll(b.dir); err == nil {
			err = rerr
		}
	}()
	log.Print("making ready")
	builds, err := b.builds()
	if err != nil {
		return err
	}
	ups, err := b.newUpdates()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(ups.close(), err) }()
	runs, err := b.newRuns()
	if err != nil {
		return err
	}
	for round := range b.rounds {
		log.Printf("round %d of %d", round+1, b.rounds)
		for _, f := range builds {
			if err := b.build(f); err != nil {
				return err
			}
		}
		if err := ups.round(); err != nil {
			return err
		}
		if err := runs.round(); err != nil {
			return err
		}
	}
	fmt.Printf("%s; %s, %d CPUs; %d rounds; %s\n\n", time.Now().Format(time.DateOnly), kernel(), runtime.NumCPU(), b.rounds, b.results.closure)
	b.results.print(os.Stdout)
	b.results.judge(os.Stdout)
	return nil
}

// list is the file with the paths of closure n, of three.
func (b *bench) list(n int) string {
	return filepath.Join(b.closures, fmt.Sprint("closure", n), "store-paths")
}

// copyClosure makes the stage: it holds what closure 1 has and nothing else,
// since most tools take a whole directory.
func (b *bench) copyClosure() error {
	text, err := os.ReadFile(b.list(1))
	if err != nil {
		return fmt.Errorf("%w (run: scripts/make-closure)", err)
	}
	b.stage = filepath.Join(b.dir, "stage")
	if err := os.Mkdir(b.stage, 0o755); err != nil {
		return err
	}
	args := []string{"-a", "--reflink=never"}
	for p := range strings.FieldsSeq(string(text)) {
		args = append(args, filepath.Join(b.store, filepath.Base(p)))
	}
	if out, err := exec.Command("cp", append(args, b.stage)...).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return b.results.count(b.stage)
}

// measure runs cmd, keeps what it took under name, and returns its output.
func (b *bench) measure(name string, cmd *exec.Cmd) (stdout []byte, err error) {
	// What was left to write before is not to be paid here.
	unix.Sync()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.Bytes(), said.Bytes())
	}
	s := b.results.series(name)
	s.wall = append(s.wall, took)
	s.peak = max(s.peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
	return out.Bytes(), nil
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown kernel"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}
