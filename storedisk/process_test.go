package storedisk_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/storedisk"
)

// A builder is what a copy of this test program is asked to build.
type builder struct {
	Dir     string
	Closure *storedisk.Closure
	Options storedisk.Options
}

// builderEnv holds a builder as JSON. The program then builds instead of testing,
// prints a line for each thing that happens, and exits.
const builderEnv = "STOREDISK_TEST_BUILDER"

func TestMain(m *testing.M) {
	if b := os.Getenv(builderEnv); b != "" {
		os.Exit(beBuilder(b))
	}
	os.Exit(m.Run())
}

func beBuilder(arg string) int {
	var b builder
	if err := json.Unmarshal([]byte(arg), &b); err != nil {
		fmt.Println("error", err)
		return 2
	}
	stage := ""
	cache := &storedisk.Cache{Dir: b.Dir, Progress: func(p storedisk.Progress) {
		if p.Stage != stage {
			stage = p.Stage
			fmt.Println(stage, p.Owner)
		}
	}}
	img, err := cache.Build(context.Background(), b.Closure, b.Options)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("done", img.Origin)
	return 0
}

// start starts a builder in a process of its own. What it prints comes out of
// the reader.
func (b builder) start(t testing.TB) (*exec.Cmd, *bufio.Scanner) { return b.startAs(t, 0) }

// startAs starts a builder that is the user uid.
func (b builder) startAs(t testing.TB, uid uint32) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	arg, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), builderEnv+"="+string(arg))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// rest returns everything that a builder still prints, and waits for it.
func rest(t testing.TB, cmd *exec.Cmd, out *bufio.Scanner) string {
	t.Helper()
	var all strings.Builder
	for out.Scan() {
		fmt.Fprintln(&all, out.Text())
	}
	cmd.Wait()
	return all.String()
}

func TestOneOfTwoBuildersBuilds(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			store, dir := t.TempDir(), t.TempDir()
			c := plant(t, store, pathsFor(o), false)
			b := builder{dir, c, o}
			const builders = 3
			var cmds []*exec.Cmd
			var outs []*bufio.Scanner
			for range builders {
				cmd, out := b.start(t)
				cmds, outs = append(cmds, cmd), append(outs, out)
			}
			built := 0
			for i, cmd := range cmds {
				said := rest(t, cmd, outs[i])
				if !cmd.ProcessState.Success() {
					t.Errorf("builder %d: %v\n%s", i, cmd.ProcessState, said)
				}
				if strings.Contains(said, "done built") {
					built++
				}
			}
			if built != 1 {
				t.Errorf("%d of %d builders built; want one", built, builders)
			}
			compareOnly(t, build(t, &storedisk.Cache{Dir: dir}, c, o), c)
		})
	}
}

func TestAWaiterSaysForWhom(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	dir := t.TempDir()
	img := build(t, &storedisk.Cache{Dir: dir}, c, storedisk.Options{})
	img.Close()
	if err := os.Remove(img.Path + ".json"); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "."+filepath.Base(img.Path)+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	fmt.Fprintln(lock, 4711)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd, out := builder{dir, c, storedisk.Options{}}.start(t)
	if !out.Scan() || out.Text() != "waiting 4711" {
		t.Errorf("the second builder says %q; want that it waits for 4711", out.Text())
	}
	lock.Close()
	if said := rest(t, cmd, out); !strings.Contains(said, "done built") {
		t.Errorf("when the lock was free, the second builder said %q; want that it built", said)
	}
}

func TestAKilledBuilderLeavesNoImage(t *testing.T) {
	store := t.TempDir()
	small := plant(t, store, pathsFor(variants["erofs-lz4"]), false)
	plant(t, store, largePaths(), false)
	large, err := small.With(filepath.Join(store, storeName("large")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"erofs", "btrfs", "ext4", "squashfs-lz4", "erofs-lz4"} {
		o := variants[name]
		o.For = "web"
		t.Run(name, func(t *testing.T) {
			want := build(t, &storedisk.Cache{Dir: t.TempDir()}, large, variants[name])
			wanted := content(t, want)
			cache := &storedisk.Cache{Dir: t.TempDir()}
			killed, rounds := 0, 10
			if testing.Short() || name == "erofs-lz4" { // which is slow
				rounds = 3
			}
			for range rounds {
				build(t, cache, small, o).Close() // something to update
				cmd, out := builder{cache.Dir, large, o}.start(t)
				time.Sleep(rand.N(3*want.Took/2 + 60*time.Millisecond))
				cmd.Process.Kill()
				if said := rest(t, cmd, out); !strings.Contains(said, "done") {
					killed++
				}
				img := build(t, cache, large, o)
				if got := content(t, img); got != wanted {
					t.Fatalf("after a SIGKILL the cache's image holds %s; want %s", got, wanted)
				}
				img.Close()
				if left, _ := filepath.Glob(cache.Dir + "/.*"); len(left) > 0 {
					t.Errorf("after the next build there are still %q", left)
				}
				if err := cache.Remove(img.Path); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d of %d builders were killed before they had finished", killed, rounds)
		})
	}
}

func TestListingDoesNotDisturbBuilders(t *testing.T) {
	c := plant(t, t.TempDir(), aFewPaths(), false)
	cache := &storedisk.Cache{Dir: t.TempDir()}
	build(t, cache, c, storedisk.Options{}).Close()
	cmd, out := builder{cache.Dir, c, storedisk.Options{}}.start(t)
	for range 200 {
		images(t, cache)
	}
	if said := rest(t, cmd, out); said != "done found\n" {
		t.Errorf("a builder beside List said %q; want that it found the image", said)
	}
}
