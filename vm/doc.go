// Package vm is a machine from its definition to its end.
//
// [Load] reads a definition into a [Config] and [Config.Check] says everything
// that is wrong with it. [Plan] decides what QEMU is told and what the guest
// mounts; it is pure, and the heart of mvm. [Run] carries a plan out: it makes
// what the machine needs, starts QEMU, watches it until nothing is left of it,
// and returns how it ended.
//
// # One process a machine
//
// There is no daemon. The process that calls Run holds the machine's lock, owns
// QEMU as its child, and answers on the machine's control socket; when it dies,
// for whatever reason, the kernel takes QEMU with it and drops the lock. What
// other processes may ask of it is package control's.
//
// # Who decides
//
// Everything that happens to a running machine (QEMU's events, the guest's
// words, a request to stop, a time limit) arrives in one loop, and nothing else
// decides anything. How a machine ended is judged at the end by a pure function
// from what was seen.
//
// # What it must not know
//
// The package prints nothing, exits nowhere and reads neither flags nor the
// environment: directories, the terminal and messages are the caller's. How an
// image is laid out, how QEMU spells an option and which rule makes a mount are
// the business of packages storedisk, qemu and mounts.
package vm
