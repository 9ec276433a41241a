// Package vsock gives guests their addresses for AF_VSOCK.
//
// A guest's address, its context id, is one for the whole host: two guests that
// want the same cannot run at once, and the kernel says so only when the second
// has been started. [Claim] finds out before, for a number that a definition gives
// as for one that is picked, and holds the number for as long as the machine lives:
// also while its QEMU is started anew.
//
// The package knows nothing of QEMU, which is handed the open device, and nothing
// of what guests say over vsock.
package vsock
