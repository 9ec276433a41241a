// Package machined registers machines with systemd-machined, so that machinectl
// lists them and can end them.
//
// A machine that runs as the service of its own, mvm@NAME.service, is registered as
// it is: to end it, machined stops the service. Any other gets a scope of its own,
// into which machined moves QEMU; else machined would take the unit that mvm happens
// to run in for the machine, which may be a login's whole session. This process is
// the scope's controller: systemd asks it to end the machine, instead of killing
// QEMU.
//
// The package is the only one that speaks D-Bus. See org.freedesktop.machine1(5),
// and on controllers org.freedesktop.systemd1(5).
package machined
