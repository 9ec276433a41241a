package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/mounts/handoff"
)

// loadDatabase makes the closure known to the guest's Nix, where there is a
// registration of it, a Nix to tell, and a store that Nix can work with. NixOS
// does it itself (microvm.nix's postBootCommands, by regInfo= on the kernel's
// command line) and is left alone.
func loadDatabase(system string) error {
	if _, err := os.Stat(handoff.RegistrationPath); err != nil {
		return nil // it was not asked for
	}
	if _, err := os.Stat(filepath.Join(system, "nixos-version")); err == nil {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(mounts.StorePath, &fs); err != nil || fs.Flags&unix.ST_RDONLY != 0 {
		return nil // it keeps its links in the store
	}
	env := environment(os.Environ(), defaultEnv)
	program := findNix(system, env)
	if program == "" {
		return nil
	}
	in, err := os.Open(handoff.RegistrationPath)
	if err != nil {
		return err
	}
	defer in.Close()
	return runQuietly([]string{program, "--load-db"}, env, in)
}

// findNix returns the guest's nix-store, or "". One that is in the closure, but
// in no search path, counts.
func findNix(system string, env []string) string {
	const name = "nix-store"
	path := []string{"PATH=" + filepath.Join(system, "sw/bin") + ":" + filepath.Join(system, "bin")}
	for _, e := range [][]string{path, env} {
		if program, err := lookUp(name, e); err == nil {
			return program
		}
	}
	found, _ := filepath.Glob(filepath.Join(mounts.StorePath, "*/bin", name))
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// maxComplaint is how much of a program's output an error repeats, in bytes.
const maxComplaint = 4 << 10

// runQuietly runs a program to its end. What it says is part of the error if
// it fails.
func runQuietly(argv, env []string, in *os.File) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{in.Fd(), w.Fd(), w.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	said, _ := io.ReadAll(io.LimitReader(r, maxComplaint))
	_, _ = io.Copy(io.Discard, r)
	var ws unix.WaitStatus
	if err := retry(func() error { _, err := unix.Wait4(pid, &ws, 0, nil); return err }); err != nil {
		return err
	}
	if ws.Exited() && ws.ExitStatus() == 0 {
		return nil
	}
	return errors.New(strings.Join(argv, " ") + ": " + strings.TrimSpace(string(said)))
}
