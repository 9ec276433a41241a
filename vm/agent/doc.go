// Package agent is the host's end of the channel to the agent in a guest.
//
// A [Client] owns the connection. Its reader takes every frame as it comes and
// never waits for a consumer: what a guest may send is bounded by the windows
// of package handoff, and a guest that exceeds them, lies about a stream or
// sends what is not a frame loses the channel, which [Client.Err] explains.
// Nothing that a guest does makes the client use more than a few hundred KiB a
// command.
//
// The package must not know what a machine is: who powers off, why, and what is
// printed are decided above it.
package agent
