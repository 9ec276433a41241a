package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Capabilities are what one QEMU program can do. They marshal to JSON and back,
// so that a caller may keep them: see [Capabilities.Fresh].
type Capabilities struct {
	// Path, Size in bytes and ModTime identify the program.
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modTime"`

	Version  Version  `json:"version"`
	Accels   []string `json:"accels"`   // what it was built with: "kvm", "tcg"
	Machines []string `json:"machines"` // types and their aliases
	Devices  []string `json:"devices"`  // what -device takes
	Displays []string `json:"displays"` // what -display takes, "none" and others
	Netdevs  []string `json:"netdevs"`  // what -netdev takes
	Sandbox  bool     `json:"sandbox"`  // -sandbox is there
}

// HasMachine reports whether the program knows a machine type.
func (c *Capabilities) HasMachine(t Type) bool {
	return slices.Contains(c.Machines, string(or(t, MicroVM)))
}

// HasDevice reports whether the program knows a device.
func (c *Capabilities) HasDevice(name string) bool { return slices.Contains(c.Devices, name) }

// HasAccel reports whether the program was built with an accelerator.
func (c *Capabilities) HasAccel(a Accel) bool { return slices.Contains(c.Accels, string(or(a, TCG))) }

// Fresh reports whether c still describes the program at its path.
func (c *Capabilities) Fresh() bool {
	fi, err := os.Stat(c.Path)
	return err == nil && fi.Size() == c.Size && fi.ModTime().Equal(c.ModTime)
}

// Check returns a [HostError] with everything that the machine needs and the
// program lacks.
func (c *Capabilities) Check(m *Machine) error {
	var lacking, hints []string
	lacks := func(there bool, hint, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		if there || slices.Contains(lacking, what) {
			return
		}
		lacking = append(lacking, what)
		if !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	const (
		another  = "set qemu.package to another QEMU"
		complete = "install the complete QEMU package, or do without what needs it"
	)
	lacks(c.HasMachine(m.Type), "set qemu.machine to a type that it has, or qemu.package to another QEMU", "machine %q", m.machineType())
	lacks(c.HasAccel(m.Accel), "set accel to another, or qemu.package to another QEMU", "accelerator %q", m.accel())
	lacks(c.Sandbox || !m.ownSandbox(), another+" that was built with seccomp", "sandbox")
	own := *m
	own.ExtraArgs = nil
	for _, f := range own.Explain() {
		if len(f.Args) < 2 {
			continue
		}
		name, _, _ := strings.Cut(f.Args[1], ",")
		switch f.Args[0] {
		case "-device":
			lacks(c.HasDevice(name), complete, "device %q", name)
		case "-display":
			lacks(slices.Contains(c.Displays, name), "install the package with QEMU's displays (qemu-system-gui), or set graphics.backend to another", "display %q", name)
		case "-netdev":
			lacks(slices.Contains(c.Netdevs, name), "use an interface of another type, or set qemu.package to another QEMU", "network %q", name)
		}
	}
	if lacking == nil {
		return nil
	}
	return &HostError{
		Op:  "check " + c.Path,
		Err: fmt.Errorf("version %v has no %s", c.Version, strings.Join(lacking, ", no ")), Hint: strings.Join(hints, "; "),
	}
}

// Probe asks a QEMU program what it can do, by starting it without a machine
// for a moment. Binary is a path or a name, as of [Find]'s result. The error is
// a [HostError] if there is no such program or it is no QEMU.
func Probe(ctx context.Context, binary string) (Capabilities, error) {
	path, err := Find(binary, MicroVM)
	if err != nil {
		return Capabilities{}, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return Capabilities{}, err
	}
	c := Capabilities{Path: path, Size: fi.Size(), ModTime: fi.ModTime()}
	p := &Process{stderr: &ring{limit: 64 << 10}, done: make(chan struct{})}
	cmd := &exec.Cmd{Path: path, Args: []string{
		path, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-chardev", newOption("socket").set("id", "qmp").num("fd", fdQMP).String(), "-mon", "chardev=qmp,mode=control",
	}, Stdout: p.stderr, Stderr: p.stderr}
	if err := p.launch(cmd, &Machine{}, nil, nil); err != nil {
		return Capabilities{}, launchError(path, err)
	}
	defer p.Close()
	if err := p.greet(ctx); err != nil {
		return Capabilities{}, &HostError{Op: "ask " + path + " what it can do", Err: err, Hint: "check that it is a QEMU system emulator, version 6 or later"}
	}
	c.Version = p.qmp.Version()
	if err := c.ask(ctx, p.qmp); err != nil {
		return Capabilities{}, fmt.Errorf("probe %s: %w", path, err)
	}
	// QMP does not know which of these are installed.
	if c.Displays, err = listed(ctx, path, "-display"); err != nil {
		return Capabilities{}, err
	}
	if c.Netdevs, err = listed(ctx, path, "-netdev"); err != nil {
		return Capabilities{}, err
	}
	return c, nil
}

// listed is what an option's help lists: a word on each line after the title.
func listed(ctx context.Context, path, option string) ([]string, error) {
	cmd := exec.CommandContext(ctx, path, option, "help")
	cmd.WaitDelay = lingering
	out, err := cmd.Output()
	if err != nil {
		return nil, &HostError{Op: path + " " + option + " help", Err: err, Hint: "check that it is a QEMU system emulator, version 6 or later"}
	}
	var words []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.ContainsAny(line, " :") {
			words = append(words, line)
		}
	}
	slices.Sort(words)
	return words, nil
}

func (c *Capabilities) ask(ctx context.Context, q *QMP) error {
	var machines []struct{ Name, Alias string }
	if err := q.Do(ctx, "query-machines", nil, &machines); err != nil {
		return err
	}
	for _, m := range machines {
		c.Machines = append(c.Machines, m.Name)
		if m.Alias != "" {
			c.Machines = append(c.Machines, m.Alias)
		}
	}
	var err error
	if c.Devices, err = types(ctx, q, "device"); err != nil {
		return err
	}
	accels, err := types(ctx, q, "accel")
	if err != nil {
		return err
	}
	for _, a := range accels {
		if name, ok := strings.CutSuffix(a, "-accel"); ok { // else it is what they have in common
			c.Accels = append(c.Accels, name)
		}
	}
	err = q.Do(ctx, "query-command-line-options", map[string]string{"option": "sandbox"}, nil)
	if ce := (*CommandError)(nil); err != nil && !errors.As(err, &ce) {
		return err // a refusal is an answer: the option is unknown
	}
	c.Sandbox = err == nil
	slices.Sort(c.Machines)
	return nil
}

// types returns the names of QEMU's concrete types of a kind, sorted.
func types(ctx context.Context, q *QMP, kind string) ([]string, error) {
	var list []struct{ Name string }
	err := q.Do(ctx, "qom-list-types", map[string]any{"implements": kind, "abstract": false}, &list)
	var names []string
	for _, t := range list {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names, err
}
