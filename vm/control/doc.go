// Package control is how one command speaks with the process that runs a
// machine: HTTP over a Unix socket in the machine's run-time directory, usable
// with curl.
//
// [Server] answers for anything that implements [Machine]; [Client] asks. The
// types that cross the socket ([Status], [Event], [Exit]) live here, so that
// the supervisor and the commands mean the same by them.
//
// Only the owner reaches the socket: its directory is 0700, the socket 0600,
// and the server asks the kernel who is at the other end. A client that does
// not read, or sends nonsense, or is one of a thousand, costs the machine
// nothing but a bounded buffer.
package control
