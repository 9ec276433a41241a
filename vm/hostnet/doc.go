// Package hostnet makes the host's ends of a machine's network interfaces: taps,
// attached to a bridge or not, and macvtaps. It is the only package that knows
// netlink.
//
// A [Spec] describes a device. [Up] makes it and returns a [Device], whose
// [Device.Files] are what QEMU inherits; [Device.Down] takes it back. QEMU needs
// no privilege to use it, and no script. [Watch] tells what befalls devices while
// they are up, and [Device.Counters] what passes through one.
//
// # Nothing is left behind
//
// A tap is not persistent: the kernel removes it when the last process that has
// it open is gone, however these ended. A macvtap has no such tie, so it
// carries its owner in its alias, as "mvm:web:1234:…": machine, process id and
// what else makes that id unique. [Up] and [Sweep] remove devices whose owner
// is dead, by index and not by name, and touch nothing else. A device that is
// not mvm's is never taken, changed or removed.
//
// # Namespaces
//
// Everything happens in the network namespace of the calling thread.
package hostnet
