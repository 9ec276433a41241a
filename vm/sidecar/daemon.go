package sidecar

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A Kind is one of the two virtiofsd that exist. They share a name and a
// protocol, and hardly an option.
type Kind string

// The kinds.
const (
	C    Kind = "C"    // part of QEMU until 7.2
	Rust Kind = "Rust" // a project of its own
)

// A Daemon is an installed virtiofsd.
type Daemon struct {
	Path    string
	Kind    Kind
	Version string // as it prints it, "7.2.22" or "1.13.2"

	readOnly bool // it can refuse writes by itself
}

// String returns "virtiofsd 1.13.2 (Rust)".
func (d *Daemon) String() string { return fmt.Sprintf("virtiofsd %s (%s)", d.Version, d.Kind) }

// usualDaemons is where distributions put virtiofsd: most in libexec, Arch and
// Debian until 12 in lib. The Rust one comes first.
var usualDaemons = []string{"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"}

// FindVirtiofsd finds a virtiofsd and asks it what it can do. The name is a
// program, or the directory of a package that has it in bin or libexec; empty
// means wherever distributions put it, or PATH. The error is a [HostError].
func FindVirtiofsd(ctx context.Context, name string) (*Daemon, error) {
	path, err := find(name, "virtiofsd", usualDaemons,
		"install virtiofsd (before Debian 13: qemu-system-common), name it by virtiofsd.package, or share by 9p")
	if err != nil {
		return nil, err
	}
	version, err := ask(ctx, path, "--version")
	if err != nil {
		return nil, err
	}
	help, err := ask(ctx, path, "--help")
	if err != nil {
		return nil, err
	}
	d, err := recognise(version, help)
	if err != nil {
		return nil, &HostError{Op: "recognise " + path, Err: err, Hint: "name a virtiofsd by virtiofsd.package"}
	}
	d.Path = path
	return d, nil
}

var versionLine = regexp.MustCompile(`virtiofsd (?:version |backend )?v?([0-9][^ \n]*)`)

// recognise tells the kinds apart by their options: what they say about
// themselves has changed over time.
func recognise(version, help string) (*Daemon, error) {
	d := &Daemon{readOnly: strings.Contains(help, "--readonly")}
	if m := versionLine.FindStringSubmatch(version); m != nil {
		d.Version = m[1]
	}
	switch {
	case strings.Contains(help, "--shared-dir"):
		d.Kind = Rust
	case strings.Contains(help, "-o source="):
		d.Kind = C
	default:
		return nil, errors.New("it is not a virtiofsd that is known")
	}
	if d.Version == "" {
		return nil, errors.New("it does not tell its version")
	}
	if !strings.Contains(help, "--fd") {
		return nil, fmt.Errorf("%v does not take an open socket", d)
	}
	return d, nil
}
