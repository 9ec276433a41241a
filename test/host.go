package test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mvmrun/mvm/vm/state"
)

// Program is the mvm that machines are run with: a path, or a name to look up in
// PATH. It must be set before the first Host is made.
var Program = "mvm"

// Limit is how long one run of mvm may take. It is a deadline against hanging,
// not a claim: a guest without KVM on a busy machine boots in ten seconds.
const Limit = 3 * time.Minute

// slots lets two hosts have machines at once: each machine without KVM keeps a
// processor busy, and a boot that starves is a test that fails.
var slots = make(chan struct{}, 2)

// A Host is a place for machines: directories of their own, which are empty at
// first and gone after the test.
type Host struct {
	// Dir is an empty directory for the test's own files.
	Dir string

	// Env is added to the environment of every mvm, as "NAME=value".
	Env []string

	// Namespace is the network namespace that every mvm runs in, by its name in
	// ip-netns(8). Empty means the test's own. It takes root.
	Namespace string

	// Limit is how long one run of mvm may take. Zero means the package's [Limit].
	Limit time.Duration

	t    testing.TB
	dirs state.Dirs
	tmp  string
}

// NewHost makes a host. It waits while two others in this process are in use, so
// a test makes one at most, and only after t.Parallel.
func NewHost(t testing.TB) *Host {
	t.Helper()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	root := t.TempDir()
	h := &Host{
		t: t, Dir: filepath.Join(root, "files"), tmp: filepath.Join(root, "tmp"),
		dirs: state.Dirs{State: filepath.Join(root, "state"), Runtime: filepath.Join(root, "run"), Cache: filepath.Join(root, "cache")},
	}
	for _, dir := range []string{h.Dir, h.tmp} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(h.checkLeftovers) // after the machines' own clean-up
	return h
}

// Dirs are where the host's machines live.
func (h *Host) Dirs() state.Dirs { return h.dirs }

// Command returns "mvm ARG..." on this host, to be run by the caller. It is killed
// when the test ends.
func (h *Host) Command(arg ...string) *exec.Cmd {
	cmd := exec.CommandContext(h.t.Context(), Program, arg...)
	h.prepare(cmd)
	return cmd
}

func (h *Host) prepare(cmd *exec.Cmd) {
	cmd.Env = append(os.Environ(),
		"MVM_STATE_DIR="+h.dirs.State, "MVM_RUNTIME_DIR="+h.dirs.Runtime, "MVM_CACHE_DIR="+h.dirs.Cache,
		"TMPDIR="+h.tmp,
	)
	cmd.Env = append(cmd.Env, h.Env...)
	if h.Namespace != "" {
		// ip becomes the program, which so keeps the process id.
		ip, err := exec.LookPath("ip")
		if err != nil {
			h.t.Fatalf("%v (install iproute2)", err)
		}
		cmd.Args = append([]string{ip, "netns", "exec", h.Namespace, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = ip
	}
	// Whoever keeps the output open after mvm's end is a leftover.
	cmd.WaitDelay = 10 * time.Second
}

func (h *Host) limit() time.Duration { return cmp.Or(h.Limit, Limit) }

// An Ended process is what is left of a run of mvm.
type Ended struct {
	Code           int // -1 if a signal ended it
	Stdout, Stderr string
}

// Mvm runs "mvm ARG..." to its end, which comes within [Limit].
func (h *Host) Mvm(arg ...string) Ended {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), h.limit())
	defer cancel()
	cmd := exec.CommandContext(ctx, Program, arg...)
	h.prepare(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		h.t.Errorf("mvm %s did not end within %v", strings.Join(arg, " "), h.limit())
	}
	e := Ended{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("mvm %s: %v", strings.Join(arg, " "), err)
	}
	return e
}
