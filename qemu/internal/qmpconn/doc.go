// Package qmpconn speaks the QEMU Machine Protocol over a connection that
// already exists, such as one end of a socket pair.
//
// [New] takes a connection and reads it until it ends. [Conn.Handshake] waits
// for QEMU's greeting and leaves its negotiation mode; [Conn.Do] runs a command
// and [Conn.Subscribe] yields events. One loop decodes everything that QEMU
// says, so an event may come at any moment, the handshake included, and is
// never taken for a reply.
//
// The package knows QMP's framing and nothing of what commands mean.
//
// # Not trusting the other side
//
// A guest that has broken out of its machine speaks as QEMU. So a message is at
// most [MaxMessage] long, events that nobody reads are dropped beyond
// [QueueEvents] and [QueueBytes] and counted, a reply must carry the id of a
// command, and the first message that breaks a rule ends the connection.
// Nothing that QEMU sends, or fails to send, makes a call outlive its context.
//
// # Ownership
//
// A Conn owns the connection and one goroutine, which ends when the connection
// does. [Conn.Close] waits for it.
package qmpconn
