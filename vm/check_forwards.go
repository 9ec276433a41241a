package vm

import (
	"net/netip"
	"slices"
)

func (k *checker) checkForwards() {
	c := k.c
	if len(c.ForwardPorts) == 0 {
		return
	}
	var users []*Interface
	for i := range c.Interfaces {
		if c.Interfaces[i].Type == "user" {
			users = append(users, &c.Interfaces[i])
		}
	}
	switch {
	case len(users) == 0:
		k.wrong("forwardPorts", "ports are forwarded through an interface of type user, and there is none").
			Hint = `add one: [[interfaces]], type = "user", id = "net0"`
	case len(users) > 1:
		k.wrong("forwardPorts", "there are %d interfaces of type user, and nothing says which one forwards", len(users)).
			Hint = "keep one of them"
	}
	var right []int // those whose own keys are
	for i := range c.ForwardPorts {
		f, at := &c.ForwardPorts[i], keyAt("forwardPorts", i)
		before := len(k.mistakes)
		k.oneOf(at+".from", f.From, "host", "guest")
		k.oneOf(at+".proto", f.Proto, "tcp", "udp")
		k.endpoint(f.Host, at+".host")
		k.endpoint(f.Guest, at+".guest")
		if len(k.mistakes) == before && k.forwardAddresses(i, right) {
			right = append(right, i)
		}
	}
	if len(users) == 1 {
		k.forwardBackend(users[0], right)
	}
}

func (k *checker) endpoint(e Endpoint, at string) {
	if e.Port == 0 && !k.c.src.wrote(at+".port") {
		k.wrong(at+".port", "the key is required")
	} else {
		k.within(at+".port", e.Port, 1, 65535, "")
	}
	if e.Address == "" {
		return
	}
	if a, err := netip.ParseAddr(e.Address); err != nil || a.Zone() != "" {
		k.wrong(at+".address", "%s is no IP address", quoteShort(e.Address)).Hint = "write numbers, not a name"
	}
}

// forwardAddresses checks forward i against itself and the ones before it.
func (k *checker) forwardAddresses(i int, before []int) bool {
	at := keyAt("forwardPorts", i)
	r, err := k.c.ForwardPorts[i].resolve()
	if err != nil {
		return false // endpoint has said so
	}
	if side, text, hint := r.trouble(); text != "" {
		k.wrong(at+"."+side+".address", "%s", text).Hint = hint
		return false
	}
	for _, j := range before {
		if other, _ := k.c.ForwardPorts[j].resolve(); r.clashes(other) {
			side, port := "host", r.host.Port()
			if r.fromGuest {
				side, port = "guest", r.guest.Port()
			}
			k.wrong(at+"."+side+".port", "%s listens on %s port %d too", keyAt("forwardPorts", j), k.c.ForwardPorts[i].Protocol(), port)
			return false
		}
	}
	return true
}

// forwardBackend checks that one back-end can do all of the forwards.
func (k *checker) forwardBackend(n *Interface, forwards []int) {
	backend, because := n.UserBackend(), "the interface's back-end is "+n.UserBackend()
	if n.User.Restrict {
		backend, because = "slirp", "the interface is restricted"
	}
	for _, i := range forwards {
		at := keyAt("forwardPorts", i)
		r, _ := k.c.ForwardPorts[i].resolve()
		if r.fromGuest && n.User.Restrict {
			k.wrong(at+".from", "a guest whose interface is restricted connects to nothing").Hint = "remove user.restrict, or the forward"
			continue
		}
		needs, why := r.needs()
		switch {
		case needs == "" || needs == backend:
		case backend != "auto":
			m := k.wrong(at, "it needs %s, and %s: %s", needs, because, why)
			if slices.Contains([]string{"passt", "slirp"}, n.User.Backend) && !n.User.Restrict {
				m.Hint = `set user.backend = "` + needs + `"`
			}
		default:
			backend, because = needs, at+" needs "+needs
		}
	}
}
