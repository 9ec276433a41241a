// Package console takes what a guest writes to its console and gives it to
// everyone who wants it: a bounded log that always is kept, and any number of
// readers that may come and go.
//
// The guest is never made to wait and never fills the host: the [Hub] reads as
// fast as the guest writes, a reader that is too slow loses the oldest of what
// it did not take and is told how much, and the [Log] turns over at its limit.
//
// A Hub owns the connection that it was given; the log is its caller's to close
// once [Hub.Done] is closed.
package console
