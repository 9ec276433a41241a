// Package sidecar runs the programs that a machine needs beside QEMU: a
// virtiofsd for each share, and passt for a network without privileges.
//
// A [Virtiofsd] and a [Passt] are plain descriptions. [Daemon.Args] and
// [PasstProgram.Args] turn them into argument vectors and touch nothing;
// [Daemon.Start] and [PasstProgram.Start] run these and return a [Helper] and
// the open socket that QEMU is to inherit. No socket has a path that anybody
// could wait for, race for or be cut off from: when Start returns, the program
// has answered on the very socket that QEMU gets.
//
// # Life
//
// A Helper belongs to its caller, who calls [Helper.Stop] once QEMU is gone. It
// cannot outlive the program that started it, not even by SIGKILL, and nothing
// that it starts outlives it. A helper that ends by itself closes
// [Helper.Done]; [Helper.Err] is then a [Died] that names it.
//
// # What it must not know
//
// The package knows programs and Linux. Definitions, policies of what a death
// means for the machine, and QEMU itself are the caller's.
package sidecar
