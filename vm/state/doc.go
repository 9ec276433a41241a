// Package state knows where a machine lives on the host and which process runs
// it: its directories, the lock that makes it run once, and the identity of its
// supervisor, which is believed only after a look at the process itself.
//
// It must not know what a machine is or what the files mean. Every directory
// is 0700 and belongs to the user who runs the machine; one that belongs to
// somebody else is refused, never entered.
//
// A [Lock] is the only truth about "is it running": the kernel drops it when the
// supervisor ends for whatever reason. The [Identity] file says who holds it.
package state
