package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/mvmrun/mvm/vm/control"
	"github.com/mvmrun/mvm/vm/state"
)

// bundleReadme is the first file of a bundle.
const bundleReadme = `This is what mvm knows of the machine %s, for somebody who is to find out what
is wrong with it.

Left out: environments, the contents of credentials and volumes, and the guest's
memory. In every file, values were replaced by "[left out]" that have a name such as
password, secret or token, that look like a token where a kernel parameter or a
definition has them, passwords in URLs, and private keys. The rest is as it was: names,
paths, addresses, and whatever the guest wrote on its console. Look through it before
you give it to anybody.

%s`

// consoleShare is how much of the end of the console's log a bundle has.
const consoleShare = 256 << 10

// A part is one file of a bundle.
type part struct {
	name, about string
	text        []byte
	err         error // why it is not there
}

// bundle writes what is known of a machine to a file, which is there as a whole or
// not at all.
func (e env) bundle(ctx context.Context, arg string, place state.Machine, file string) error {
	compress, err := compressor(file)
	if err != nil {
		return err
	}
	parts := e.parts(ctx, arg, place)
	var index strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&index, "%-16s %s\n", p.name, p.about)
		if p.err != nil {
			fmt.Fprintf(&index, "%-16s   not there: %s\n", "", redact(p.err.Error()))
		}
	}
	now := time.Now()
	readme := part{name: "README", text: fmt.Appendf(nil, bundleReadme, place.Name, index.String())}
	err = state.Replace(file, 0o600, func(f *os.File) error {
		z, err := compress(f)
		if err != nil {
			return err
		}
		w := tar.NewWriter(z)
		for _, p := range append([]part{readme}, parts...) {
			if p.err != nil {
				continue
			}
			if err := w.WriteHeader(&tar.Header{
				Name: "mvm-" + place.Name + "/" + p.name, Mode: 0o600, Size: int64(len(p.text)), ModTime: now, Format: tar.FormatPAX,
			}); err != nil {
				return err
			}
			if _, err := w.Write(p.text); err != nil {
				return err
			}
		}
		return errors.Join(w.Close(), z.Close())
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	say(e.stderr, "%s: wrote %s; its README says what is in it and what was left out", place.Name, file)
	return nil
}

// compressor is what a file's name asks for.
func compressor(file string) (func(io.Writer) (io.WriteCloser, error), error) {
	switch {
	case strings.HasSuffix(file, ".tar.gz"), strings.HasSuffix(file, ".tgz"):
		return func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }, nil
	case strings.HasSuffix(file, ".tar.zst"):
		return func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }, nil
	}
	return nil, usageError{fmt.Errorf("--bundle %s: want a name that ends in .tar.gz, .tgz or .tar.zst", file)}
}

// parts collects what there is. What cannot be had is said in its place.
func (e env) parts(ctx context.Context, arg string, place state.Machine) []part {
	var said bytes.Buffer // what is warned of meanwhile
	e.stderr = &said
	client := control.NewClient(place.Name, place.Socket())
	status := e.ask(ctx, place)
	definition := arg // in the words of the other commands
	if exit, err := readExit(place); err == nil && exit.Definition != "" {
		definition = exit.Definition
	}
	var parts []part
	add := func(name, about string, text []byte, err error) {
		parts = append(parts, part{name, about, []byte(redact(string(text))), err})
	}
	addFile := func(name, about, path string) {
		text, err := os.ReadFile(path)
		add(name, about, text, err)
	}
	command := func(name, about string, args ...string) {
		text, err := e.capture(ctx, args)
		add(name, about, text, err)
	}

	if status != nil {
		if status.Definition != "" {
			definition = status.Definition
		}
		text, err := json.MarshalIndent(status, "", "  ")
		add("status.json", "how the machine is now", append(text, '\n'), err)
		events, err := client.Events(ctx)
		add("events.ndjson", "what happened to it since it was started", jsonLines(events), err)
		usage, err := client.Usage(ctx)
		text, _ = json.MarshalIndent(usage, "", "  ") // plain data
		add("usage.json", "what it uses", append(text, '\n'), err)
	} else {
		addFile("exit.json", "how it ended, with all evidence", place.LastExit())
		command("why.txt", "the same for a reader", "why", place.Name)
		addFile("events.ndjson", "what happened to it in its last life", place.Events())
	}
	console, err := logEnd(place.ConsoleLog(), consoleShare)
	add("console.log", "the end of what the guest wrote on its console", console, err)
	c, file, err := e.load(definition)
	if err == nil {
		addFile("definition"+filepath.Ext(file), "what the machine was made from: "+c.File(), file)
	} else {
		add("definition", "what the machine was made from", nil, err)
	}
	command("argv.txt", "QEMU's command line, with the key that caused each option", "argv", definition, "--why")
	command("mounts.json", "what the guest is to mount", "mounts", definition, "--format", "json")
	command("version.txt", "mvm's version", "version")
	add("host.txt", "this host", hostFacts(place), nil)
	findings, err := json.MarshalIndent(e.findings(ctx, c), "", "  ")
	add("doctor.json", "what this host has and lacks, without a guest booted for it", append(findings, '\n'), err)
	if said.Len() > 0 {
		add("warnings.txt", "what mvm warned of while it made this", said.Bytes(), nil)
	}
	return parts
}

// capture runs another command of mvm and returns what it prints.
func (e env) capture(ctx context.Context, args []string) ([]byte, error) {
	var out, said bytes.Buffer
	e.stdin, e.stdout, e.stderr = nil, &out, &said
	if code := run(ctx, args, e); code != 0 {
		return nil, fmt.Errorf("mvm %s ended with %d: %s", strings.Join(args, " "), code, strings.TrimSpace(said.String()))
	}
	return append(out.Bytes(), said.Bytes()...), nil
}

func jsonLines(events []control.Event) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, ev := range events {
		_ = enc.Encode(ev) // plain data into a buffer
	}
	return b.Bytes()
}

// logEnd is the end of a log that may have turned over.
func logEnd(path string, limit int) ([]byte, error) {
	var text []byte
	var errs []error
	for _, p := range []string{path + ".1", path} {
		b, err := os.ReadFile(p)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && p != path) {
			errs = append(errs, err)
		}
		text = append(text, b...)
	}
	return text[max(0, len(text)-limit):], errors.Join(errs...)
}

// hostFacts is what a reader far away wants to know of this host.
func hostFacts(place state.Machine) []byte {
	var b bytes.Buffer
	for _, f := range []struct {
		path string
		only []string // beginnings of lines; nil is all of them
	}{
		{"/proc/version", nil},
		{"/etc/os-release", []string{"PRETTY_NAME=", "VERSION_ID=", "ID="}},
		{"/proc/cpuinfo", []string{"model name", "flags", "Features"}},
		{"/proc/meminfo", []string{"MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "HugePages_Total", "HugePages_Free"}},
		{"/proc/loadavg", nil},
		{"/proc/uptime", nil},
		{"/proc/self/cgroup", nil},
		{"/proc/self/limits", nil},
	} {
		fmt.Fprintf(&b, "== %s\n", f.path)
		text, err := os.ReadFile(f.path)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		seen := make(map[string]bool) // one processor is as good as the other
		for line := range strings.Lines(string(text)) {
			if begins(line, f.only) && !seen[line] {
				seen[line] = true
				b.WriteString(line)
			}
		}
	}
	for _, path := range []string{"/dev/kvm", "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock"} {
		if fi, err := os.Stat(path); err != nil {
			fmt.Fprintf(&b, "== %v\n", err)
		} else {
			fmt.Fprintf(&b, "== %s is %v\n", path, fi.Mode())
		}
	}
	fmt.Fprintf(&b, "== the machine's files\n")
	for _, dir := range []string{place.State, place.Runtime} {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				fmt.Fprintln(&b, err)
				return nil
			}
			if fi, err := e.Info(); err == nil {
				fmt.Fprintf(&b, "%v %12d %s %s\n", fi.Mode(), fi.Size(), fi.ModTime().UTC().Format(time.RFC3339), path)
			}
			return nil
		})
	}
	return b.Bytes()
}

func begins(line string, with []string) bool {
	for _, w := range with {
		if strings.HasPrefix(line, w) {
			return true
		}
	}
	return with == nil
}
