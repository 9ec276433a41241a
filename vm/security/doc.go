// Package security reads what the kernel says of a process: who it is, what it
// may do, and what it has open. [Read] looks at one, [Tree] also at those that
// it has started.
//
// The package judges nothing: what a process should be allowed is known to
// whoever started it. It reads /proc and needs the right to look into the
// process, which its parent of the same user has, and root.
package security
