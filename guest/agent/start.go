package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mvmrun/mvm/mounts/handoff"
)

// defaultEnv is the environment of commands, over that of the agent, which is
// what the kernel gave process 1. The path has NixOS's places first, then that
// of a bare system path, then everybody else's.
var defaultEnv = []string{
	"PATH=/run/wrappers/bin:/run/current-system/sw/bin:/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"USER=root",
}

// errNotFound is what a shell answers with 127.
var errNotFound = errors.New("command not found")

// codeOf returns a shell's exit code for a command that did not start.
func codeOf(err error) int {
	if errors.Is(err, errNotFound) || errors.Is(err, unix.ENOENT) {
		return 127
	}
	return 126
}

// start starts a command. Nothing is left behind if it fails.
func start(e handoff.Exec) (*command, error) {
	if !e.Login && (len(e.Argv) == 0 || e.Argv[0] == "") {
		return nil, errors.New("no command given")
	}
	u, err := userOf(e)
	if err != nil {
		return nil, err
	}
	dir := e.Dir
	if dir == "" {
		dir = u.dir(e.Login)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	env := environment(os.Environ(), defaultEnv, u.environ(), e.Env)
	argv, name := e.Argv, ""
	if e.Login {
		name = u.shell
		argv = append([]string{"-" + filepath.Base(name)}, argv...)
	} else {
		name = argv[0]
	}
	path, err := lookUp(name, env)
	if err != nil {
		return nil, err
	}

	c := &command{stdin: newInput(), window: newWindow(), tidies: name == handoff.CopyProgram}
	var theirs []*os.File // standard input, output and error of the command
	if e.TTY != nil {
		theirs, err = c.openTTY(*e.TTY)
	} else {
		theirs, err = c.openPipes()
	}
	defer closeAll(theirs)
	if err != nil {
		return nil, err
	}
	if e.TTY != nil && u.cred != nil { // or the user could not open it by its name
		_ = theirs[0].Chown(int(u.cred.Uid), -1)
	}
	fds := make([]uintptr, len(theirs))
	for i, f := range theirs {
		fds[i] = f.Fd() // which makes it block, as a program expects
	}
	c.pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: fds,
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: e.TTY != nil, Ctty: 0, Credential: u.cred},
	})
	if err != nil {
		c.in.Close()
		for _, out := range c.outputs {
			out.Close()
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// openPipes connects a command by three pipes and returns its ends of them.
func (c *command) openPipes() ([]*os.File, error) {
	var ours, theirs []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ours)
			return theirs, err
		}
		if len(ours) == 0 {
			ours, theirs = append(ours, w), append(theirs, r)
		} else {
			ours, theirs = append(ours, r), append(theirs, w)
		}
	}
	c.in = ours[0]
	c.outputs = []output{{handoff.KindStdout, ours[1]}, {handoff.KindStderr, ours[2]}}
	return theirs, nil
}

// openTTY connects a command by a new pseudo terminal.
func (c *command) openTTY(size handoff.Size) ([]*os.File, error) {
	ours, theirs, err := openPTY(size)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	c.in, c.tty = ours, ours
	c.outputs = []output{{handoff.KindStdout, ours}}
	return []*os.File{theirs, theirs, theirs}, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// environment joins lists of NAME=VALUE. A later one replaces an earlier one
// in its place.
func environment(lists ...[]string) []string {
	var env []string
	at := make(map[string]int)
	for _, list := range lists {
		for _, kv := range list {
			name, _, ok := strings.Cut(kv, "=")
			if !ok || name == "" || strings.ContainsRune(kv, 0) {
				continue
			}
			if i, ok := at[name]; ok {
				env[i] = kv
				continue
			}
			at[name] = len(env)
			env = append(env, kv)
		}
	}
	return env
}

// lookUp finds a program as a shell does: by PATH, unless it has a slash.
func lookUp(name string, env []string) (string, error) {
	if name == handoff.CopyProgram {
		return "/proc/self/exe", nil // whose file exists no more
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, name)
			if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, errNotFound)
}
