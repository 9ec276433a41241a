// Package qemu turns a description of a machine into a QEMU process and keeps
// hold of that process until it ends.
//
// [Machine.Args] is a pure function from a description to an argument vector.
// It opens nothing and starts nothing, which is why its tests are golden files
// and why a command line can be printed without root. [Machine.Explain] is the
// same vector with a reason for each flag. [Start] runs it, and [Process] is
// the running machine: a child to wait for, its console, its agent's port and
// a [QMP] connection. [Probe] and [DetectAccel] ask what this host can do.
//
// The package knows QEMU and Linux. It does not know what a machine is for:
// definitions, disks' contents, mount plans, policies of stopping and
// restarting are the caller's.
//
// # Why not a builder
//
// A Machine is a plain struct. QEMU's order-sensitive options are ordered here,
// once, instead of by whichever caller appended last; two Machines can be
// compared field by field; and the zero value of each field has a meaning that
// is written next to it.
//
// # Files
//
// A Machine names the open files that QEMU inherits and holds none, so that it
// can be printed and compared. [Machine.Files] lists the names in the order of
// their descriptors; the caller puts the files themselves into
// [StartOptions.Files].
//
// # Ownership
//
// Start takes ownership of every file in StartOptions.Files and closes them
// all, whether or not it succeeds. A Process belongs to its caller, who must
// call [Process.Close] once; QEMU cannot outlive the program that started it.
package qemu
