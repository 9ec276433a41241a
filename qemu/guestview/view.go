package guestview

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A View is a machine as its guest sees it.
type View struct {
	Machine string // "microvm", "q35", …
	VCPUs   int
	MemMiB  int
	// Devices are descriptions such as "disk 0 read-only serial=nix-store",
	// sorted. Disks and network cards are numbered in the order in which a
	// Linux guest names them.
	Devices []string
}

// Of returns the view of the guest that args, without the program's name, would
// start.
func Of(args []string) (View, error) {
	p := &parser{view: View{VCPUs: 1, MemMiB: 128}, backends: map[string]option{}}
	for i := 0; i < len(args); i++ {
		flag := args[i]
		take, ok := flags[flag]
		if !ok {
			return View{}, fmt.Errorf("unknown option %q", flag)
		}
		if take == nil {
			continue
		}
		if i++; i == len(args) {
			return View{}, fmt.Errorf("%s lacks its value", flag)
		}
		if err := take(p, args[i]); err != nil {
			return View{}, fmt.Errorf("%s %s: %w", flag, args[i], err)
		}
	}
	// A backend may be defined after the device that uses it.
	for _, d := range p.devices {
		if err := p.device(d); err != nil {
			return View{}, fmt.Errorf("-device %s: %w", d.first, err)
		}
	}
	slices.Sort(p.view.Devices)
	return p.view, nil
}

type parser struct {
	view     View
	backends map[string]option // drives, netdevs and the like, by their id
	devices  []option
	disks    int
	nics     int
}

func (p *parser) add(format string, args ...any) {
	p.view.Devices = append(p.view.Devices, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// skip is for an option with a value that no guest sees.
func skip(*parser, string) error { return nil }

// flags says what to do with an option. Nil is for one without a value.
var flags = map[string]func(*parser, string) error{
	"-nodefaults": nil, "-no-user-config": nil, "-no-reboot": nil, "-nographic": nil, "-enable-kvm": nil, "-S": nil,
	"-name": skip, "-kernel": skip, "-initrd": skip, "-append": skip, "-cpu": skip, "-sandbox": skip, "-qmp": skip,
	"-mon": skip, "-global": skip, "-display": skip, "-numa": skip, "-run-with": skip, "-add-fd": skip, "-accel": skip,
	"-machine": (*parser).machine, "-M": (*parser).machine,
	"-m": (*parser).memory, "-smp": (*parser).smp, "-smbios": (*parser).smbios, "-fw_cfg": (*parser).fwCfg,
	"-serial":  func(p *parser, _ string) error { p.add("serial port"); return nil },
	"-device":  func(p *parser, v string) error { p.devices = append(p.devices, parse(v)); return nil },
	"-drive":   (*parser).backend,
	"-netdev":  (*parser).backend,
	"-fsdev":   (*parser).backend,
	"-chardev": (*parser).backend,
	"-object":  (*parser).backend,
	"-blockdev": func(p *parser, v string) error {
		o := parse(v)
		p.backends[o.get("node-name")] = o
		return nil
	},
}

func (p *parser) backend(v string) error {
	o := parse(v)
	id := o.get("id")
	if id == "" {
		return fmt.Errorf("no id")
	}
	p.backends[id] = o
	return nil
}

func (p *parser) machine(v string) error {
	p.view.Machine = parse(v).first
	if p.view.Machine == "q35" {
		p.add("keyboard") // it is on the board
	}
	return nil
}

func (p *parser) memory(v string) (err error) {
	o := parse(v)
	size := o.first
	if size == "" {
		size = o.get("size")
	}
	p.view.MemMiB, err = strconv.Atoi(strings.TrimSuffix(size, "M"))
	return err
}

func (p *parser) smp(v string) (err error) {
	p.view.VCPUs, err = strconv.Atoi(v)
	return err
}

func (p *parser) smbios(v string) error {
	p.add("smbios uuid=%s", parse(v).get("uuid"))
	return nil
}

func (p *parser) fwCfg(v string) error {
	p.add("fw_cfg %s", parse(v).get("name"))
	return nil
}

// An option is the value of a flag: a first word without a key, if there is
// one, and the rest.
type option struct {
	first string
	props []prop
}

type prop struct{ key, value string }

func (o option) get(key string) string {
	for _, p := range o.props {
		if p.key == key {
			return p.value
		}
	}
	return ""
}

// all returns the values of a key that may come several times.
func (o option) all(key string) []string {
	var vs []string
	for _, p := range o.props {
		if p.key == key && p.value != "" {
			vs = append(vs, p.value)
		}
	}
	return vs
}

// on reports whether a switch is on, in any of the ways to say so.
func (o option) on(key string) bool {
	switch o.get(key) {
	case "on", "true", "yes":
		return true
	}
	return false
}

func parse(s string) option {
	var o option
	const comma = "\x00"
	for i, field := range strings.Split(strings.ReplaceAll(s, ",,", comma), ",") {
		field = strings.ReplaceAll(field, comma, ",")
		key, value, ok := strings.Cut(field, "=")
		switch {
		case ok:
			o.props = append(o.props, prop{key, value})
		case i == 0:
			o.first = field
		case field != "":
			o.props = append(o.props, prop{field, "on"})
		}
	}
	return o
}
