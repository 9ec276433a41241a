package sidecar

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Args returns the daemon's arguments, without its name. It listens on the file
// descriptor fd. What is the daemon's default anyhow is not said, so that
// ExtraArgs can say it: Rust daemons refuse an option that is given twice.
func (d *Daemon) Args(v Virtiofsd, fd int) ([]string, error) {
	if err := d.check(v); err != nil {
		return nil, err
	}
	if d.Kind == C {
		return append(argsC(v, fd), v.ExtraArgs...), nil
	}
	return append(d.argsRust(v, fd), v.ExtraArgs...), nil
}

// check refuses what the daemon would misunderstand or cannot do.
func (d *Daemon) check(v Virtiofsd) error {
	for _, c := range []struct {
		what, value string
		of          []string
	}{
		{"cache", v.Cache, []string{"", "auto", "always", "metadata", "never"}},
		{"file handles", v.FileHandles, []string{"", "never", "prefer", "mandatory"}},
		{"sandbox", v.Sandbox, []string{"", "namespace", "chroot", "none"}},
	} {
		if !slices.Contains(c.of, c.value) {
			return fmt.Errorf("%s %q is none of %s", c.what, c.value, strings.Join(c.of[1:], ", "))
		}
	}
	translates := len(v.TranslateUID)+len(v.TranslateGID) > 0
	switch {
	case !filepath.IsAbs(v.Source):
		return fmt.Errorf("the source %q is not an absolute path", v.Source)
	case strings.ContainsRune(v.Source, 0):
		return fmt.Errorf("the source %q has a zero byte", v.Source)
	case v.Threads < 0:
		return fmt.Errorf("%d threads are too few", v.Threads)
	case v.PosixACL && translates:
		return errors.New("translated owners and POSIX ACLs exclude each other")
	}
	rust := HostError{Op: "describe it to " + d.String(), Hint: "install virtiofsd 1.13 or later, the one that is written in Rust"}
	switch {
	case d.Kind != C:
		return nil
	case translates:
		rust.Err = errors.New("it cannot translate owners")
	case v.FileHandles == "mandatory":
		rust.Err = errors.New("it has no file handles")
	case v.Sandbox == "none":
		rust.Err = errors.New("it does not run without a sandbox")
	default:
		return nil
	}
	return &rust
}

// argsC is for the daemon that came with QEMU until 7.2.
func argsC(v Virtiofsd, fd int) []string {
	args := []string{"--fd=" + strconv.Itoa(fd)}
	o := func(value string) { args = append(args, "-o", value) }
	// Its options are lists: libfuse splits them at commas and undoes
	// backslashes.
	o("source=" + strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(v.Source))
	switch v.Cache {
	case "always":
		o("cache=always")
	case "metadata", "never":
		o("cache=none")
	}
	if v.Xattr || v.PosixACL {
		o("xattr")
	}
	if v.PosixACL {
		o("posix_acl")
	}
	if v.Sandbox == "chroot" {
		o("sandbox=chroot")
	}
	// Rust daemons do so by themselves. Without it, inode numbers of two file
	// systems below the source are those of one to the guest.
	o("announce_submounts")
	if v.Threads > 0 {
		args = append(args, "--thread-pool-size="+strconv.Itoa(v.Threads))
	}
	return args
}

// argsRust is for the daemon of its own project. Values are joined to their
// options, so that none can be taken for an option.
func (d *Daemon) argsRust(v Virtiofsd, fd int) []string {
	args := []string{"--fd=" + strconv.Itoa(fd), "--shared-dir=" + v.Source}
	add := func(option, value, byDefault string) {
		if value != "" && value != byDefault {
			args = append(args, option+"="+value)
		}
	}
	add("--cache", v.Cache, "auto")
	if v.Xattr && !v.PosixACL {
		args = append(args, "--xattr")
	}
	if v.PosixACL {
		args = append(args, "--posix-acl")
	}
	if v.Threads > 0 {
		add("--thread-pool-size", strconv.Itoa(v.Threads), "")
	}
	add("--inode-file-handles", v.FileHandles, "never")
	for _, rule := range v.TranslateUID {
		add("--translate-uid", rule, "")
	}
	for _, rule := range v.TranslateGID {
		add("--translate-gid", rule, "")
	}
	add("--sandbox", v.Sandbox, "namespace")
	if v.ReadOnly && d.readOnly {
		args = append(args, "--readonly")
	}
	return args
}
