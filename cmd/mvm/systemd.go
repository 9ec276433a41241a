package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mvmrun/mvm/vm"
)

const (
	serviceName = "mvm@.service"
	targetName  = "mvms.target"
)

func newSystemd(e env) *cobra.Command {
	u := &units{env: e}
	cmd := &cobra.Command{
		Use:     "systemd",
		GroupID: "host",
		Short:   "Have systemd run machines",
		Long: `Systemd writes and removes the units with which systemd runs machines: mvm@NAME is
one machine, and mvms.target those that start with the host. Root's are the
system's; everybody else's, and root's with --user, are of the user's manager.

The units need nothing but mvm and the definitions, which the manager looks up as
mvm does: in /etc/mvm, and a user's in $XDG_CONFIG_HOME/mvm. A definition that is
somewhere else is named by its file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.BoolVar(&u.user, "user", os.Getuid() != 0, "use the user's manager")
	f.BoolVarP(&u.dryRun, "dry-run", "n", false, "only print what would be changed")
	f.StringVar(&u.dir, "dir", "", "use this `DIR` for units, and tell no manager about it")
	cmd.AddCommand(
		u.command("install [NAME...]", "Write the units, and what definitions add to them",
			`Install writes mvm@.service and mvms.target, and for each definition what it adds to
them; without a NAME for all definitions. Those with autostart = true are enabled.
Run it again after a change to a definition's restart, autostart or block devices.`,
			cobra.ArbitraryArgs, u.install),
		u.command("enable NAME...", "Start machines with the host",
			`Enable is install for machines that start with the host whatever their definition
says.`, cobra.MinimumNArgs(1), u.enable),
		u.command("disable NAME...", "Do not start machines with the host",
			`Disable takes back what enable, or autostart in the definition, did. A machine that
runs goes on.`, cobra.MinimumNArgs(1), u.disable),
		u.command("uninstall [NAME...]", "Remove what install wrote",
			`Uninstall removes what install and enable wrote for the machines; without a NAME for
all, and the units too. Machines that run go on.`, cobra.ArbitraryArgs, u.uninstall),
	)
	return cmd
}

// units are the unit files of one manager.
type units struct {
	env
	user   bool
	dryRun bool
	dir    string
}

// command is one that makes changes and then has the manager read them.
func (u *units) command(use, short, long string, args cobra.PositionalArgs, f func([]string) ([]change, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		ValidArgsFunction: u.completeDefinition,
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := f(args)
			if err != nil {
				return err
			}
			if u.dryRun {
				_, err = applyAll(changes, cmd.OutOrStdout())
				return err
			}
			changed, err := applyAll(changes, nil)
			if changed {
				err = errors.Join(err, u.reload(cmd.Context()))
			}
			return err
		},
	}
}

// reload has the manager read its units again, if there is one.
func (u *units) reload(ctx context.Context) error {
	if u.dir != "" {
		return nil
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil //nolint:nilerr // see sd_booted(3): systemd does not run
	}
	args := []string{"daemon-reload"}
	if u.user {
		args = []string{"--user", "daemon-reload"}
	}
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return &vm.HostError{
			Op: "have systemd read its units", Err: fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))),
			Hint: "run systemctl " + strings.Join(args, " ") + " yourself; the units are written",
		}
	}
	return nil
}

// unitDir is where the manager looks for what its administrator wrote.
func (u *units) unitDir() (string, error) {
	switch {
	case u.dir != "":
		return filepath.Abs(u.dir)
	case !u.user:
		return "/etc/systemd/system", nil
	}
	config := u.xdg("XDG_CONFIG_HOME", ".config")
	if config == "" {
		return "", &vm.HostError{
			Op: "find a directory for units", Err: errors.New("neither XDG_CONFIG_HOME nor HOME is set"),
			Hint: "set HOME, or give --dir",
		}
	}
	return filepath.Join(config, "systemd/user"), nil
}

// lookup is where a machine of the manager finds definitions.
func (u *units) lookup() []string {
	if config := u.xdg("XDG_CONFIG_HOME", ".config"); u.user && config != "" {
		return []string{filepath.Join(config, "mvm"), "/etc/mvm"}
	}
	return []string{"/etc/mvm"}
}

// all are the files of all definitions that the manager finds.
func (u *units) all() []string {
	var files []string
	for _, dir := range u.lookup() {
		for _, ext := range []string{".toml", ".json"} {
			found, _ := filepath.Glob(filepath.Join(dir, "*"+ext)) // the pattern is right
			files = append(files, found...)
		}
	}
	return files
}

func (u *units) install(args []string) ([]change, error) { return u.write(args, false) }

func (u *units) enable(args []string) ([]change, error) { return u.write(args, true) }

func (u *units) write(args []string, enable bool) ([]change, error) {
	dir, err := u.unitDir()
	if err != nil {
		return nil, err
	}
	program, err := u.program()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		args = u.all()
	}
	changes := []change{
		{path: filepath.Join(dir, serviceName), text: serviceUnit(program, u.user)},
		{path: filepath.Join(dir, targetName), text: targetUnit(u.user)},
		{path: filepath.Join(dir, bootTarget(u.user)+".wants", targetName), link: "../" + targetName},
	}
	for _, arg := range args {
		c, _, err := u.load(arg)
		if err != nil {
			return nil, err
		}
		m := machineFiles(dir, c.MachineName())
		m.settings.text = machineUnit(c, program, u.elsewhere(c))
		changes = append(changes, m.settings)
		if enable || c.Autostart {
			m.want.link = "../" + serviceName
			changes = append(changes, m.want)
		}
	}
	return changes, nil
}

func (u *units) disable(args []string) ([]change, error) {
	dir, err := u.unitDir()
	if err != nil {
		return nil, err
	}
	var changes []change
	for _, arg := range args {
		name, err := u.nameOf(arg)
		if err != nil {
			return nil, err
		}
		changes = append(changes, machineFiles(dir, name).want)
	}
	return changes, nil
}

func (u *units) uninstall(args []string) ([]change, error) {
	dir, err := u.unitDir()
	if err != nil {
		return nil, err
	}
	var changes []change
	add := func(name string) {
		m := machineFiles(dir, name)
		changes = append(changes, m.want, m.settings)
	}
	for _, arg := range args {
		name, err := u.nameOf(arg)
		if err != nil {
			return nil, err
		}
		add(name)
	}
	if len(args) > 0 {
		return changes, nil
	}
	prefix := strings.TrimSuffix(serviceName, ".service")
	names := map[string]bool{}
	for _, pattern := range []string{targetName + ".wants/" + prefix + "*.service", prefix + "*.service.d"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is right
		for _, path := range found {
			name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".d"), ".service")
			names[strings.TrimPrefix(name, prefix)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		add(name)
	}
	return append(changes,
		change{path: filepath.Join(dir, bootTarget(u.user)+".wants", targetName)},
		change{path: filepath.Join(dir, targetName)},
		change{path: filepath.Join(dir, serviceName)},
	), nil
}

// machineFiles are the files about one machine, to be removed unless something
// is put into them.
func machineFiles(dir, name string) (m struct{ want, settings change }) {
	service := strings.Replace(serviceName, "@", "@"+name, 1)
	m.want.path = filepath.Join(dir, targetName+".wants", service)
	m.settings.path = filepath.Join(dir, service+".d", "mvm.conf")
	return m
}

// nameOf is the name of the machine that arg means. Its definition need not be
// there any more unless arg is a file.
func (u *units) nameOf(arg string) (string, error) {
	place, err := u.place(arg)
	return place.Name, err
}

// elsewhere is the definition's file if the manager would not find it by the
// machine's name, else "".
func (u *units) elsewhere(c *vm.Config) string {
	found, err := vm.Find(c.MachineName(), u.lookup())
	if err == nil && found == c.File() {
		return ""
	}
	return c.File()
}

// program is this program as the manager is to call it: by the name that PATH has
// for it, which outlives an update of what the name leads to.
func (u *units) program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if named, err := exec.LookPath("mvm"); err == nil && filepath.IsAbs(named) {
		a, aerr := os.Stat(self)
		b, berr := os.Stat(named)
		if aerr == nil && berr == nil && os.SameFile(a, b) {
			return named, nil
		}
	}
	return self, nil
}
